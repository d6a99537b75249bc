# Varnish (7.1 or later) as a shared cache in front of the gateway.
#
# What may be stored, and for how long, is said by the Cache-Control of each answer, which Varnish's
# built-in rules follow: they run after these. This file only says which requests may be answered
# from the cache. Requests for the same wait for one another by themselves.
vcl 4.1;

import std;

backend gateway {
    .host = "127.0.0.1";
    .port = "4437";
    # Above LONG_POLL_TIMEOUT_MS and SSE_HEARTBEAT_MS.
    .first_byte_timeout = 75s;
    .between_bytes_timeout = 75s;
}

sub vcl_recv {
    # Events go through as they come, and the end of either side is the end of the other.
    if (req.method == "GET" && req.url ~ "[?&]live=sse(&|$)") {
        return (pipe);
    }
    # HEAD tells where a stream ends, and Varnish would answer it from a GET. A conditional request
    # is the gateway's to answer: Varnish would fetch the whole to compare.
    if (req.method != "GET" || req.http.If-None-Match) {
        return (pass);
    }
    # Who shows a token, a cookie or a ticket gets a private answer, unless the URL has the stream's
    # reader key: with it the URL itself is the secret, and all who know it may share what is stored.
    if ((req.http.Authorization || req.http.Cookie || req.url ~ "[?&]ticket=")
        && req.url !~ "[?&]rk=.") {
        return (pass);
    }
    # A poll without a cursor, or from now on, is nobody else's: its URL never changes.
    if (req.url ~ "[?&]live=" && (req.url !~ "[?&]cursor=[0-9]" || req.url ~ "[?&]offset=now(&|$)")) {
        return (pass);
    }
    set req.url = std.querysort(req.url);
    return (hash);
}

sub vcl_pipe {
    # Or later requests of the connection would go through unseen.
    set bereq.http.Connection = "close";
}

sub vcl_backend_response {
    # Varnish would answer ten seconds longer than it may, also for a stream that has expired.
    if (beresp.http.Cache-Control !~ "stale-while-revalidate") {
        set beresp.grace = 0s;
    }
    # A poll without data, or a refusal to one who may not read: those who waited for it now ask the
    # gateway, all at once. For two minutes, if it were for the built-in rules, nobody would wait
    # for anybody at this URL; the next ones may again.
    if (beresp.status == 204 || beresp.status >= 400) {
        set beresp.ttl = 1s;
        set beresp.uncacheable = true;
        return (deliver);
    }
}
