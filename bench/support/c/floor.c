/*
 * The floor: the least that a fan-out over HTTP can cost one thread on this machine. Each stream is
 * one buffer of events that all its readers share, each reader a position in it; a delivery is one
 * send() of what follows its position. Durable it is not, and it takes nothing but what the load
 * sends: GET /<stream>, GET /<stream>?all, and POST /<stream> with a Content-Length.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "loop.h"

#define BACKLOG 4096
#define MAX_STREAMS 4096
#define MAX_REQUEST (64 * 1024)

typedef struct Client Client;

typedef struct {
  char *events;
  size_t length, capacity;
  Client **readers;
  unsigned count, room;
  bool has_news;
} Stream;

struct Client {
  Source source;
  /* A reader has a stream, and no more requests. */
  Stream *stream;
  unsigned index;
  size_t position;
  bool is_full;
  /* A request that has not arrived as a whole. */
  char *request;
  size_t length;
};

static Stream streams[MAX_STREAMS];
static Stream *with_news[MAX_STREAMS];
static unsigned news;

static void leave(Client *client) {
  close(client->source.fd);
  client->source.fd = -1;
  free(client->request);
  client->request = NULL;
  Stream *stream = client->stream;
  if (stream == NULL) return;
  Client *last = stream->readers[--stream->count];
  stream->readers[client->index] = last;
  last->index = client->index;
}

static void deliver(Client *reader) {
  Stream *stream = reader->stream;
  while (reader->position < stream->length) {
    ssize_t sent = send(reader->source.fd, stream->events + reader->position,
                        stream->length - reader->position, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      /* A reader that is gone is noticed when its socket is read. */
      if (errno != EAGAIN || reader->is_full) return;
      reader->is_full = true;
      return loop_change(&reader->source, EPOLLIN | EPOLLOUT);
    }
    reader->position += (size_t)sent;
  }
  if (!reader->is_full) return;
  reader->is_full = false;
  loop_change(&reader->source, EPOLLIN);
}

static void spread_news(void) {
  for (unsigned index = 0; index < news; index += 1) {
    Stream *stream = with_news[index];
    stream->has_news = false;
    for (unsigned reader = 0; reader < stream->count; reader += 1) deliver(stream->readers[reader]);
  }
  news = 0;
}

static void append(Stream *stream, const char *bytes, size_t length) {
  if (stream->length + length > stream->capacity) {
    stream->capacity = 2 * (stream->length + length);
    stream->events = realloc(stream->events, stream->capacity);
  }
  memcpy(stream->events + stream->length, bytes, length);
  stream->length += length;
}

static void publish(Stream *stream, const char *message, size_t length) {
  static const char before[] = "event: data\ndata: ", after[] = "\n\n";
  append(stream, before, sizeof before - 1);
  append(stream, message, length);
  append(stream, after, sizeof after - 1);
  if (stream->has_news) return;
  stream->has_news = true;
  with_news[news++] = stream;
}

static void answer(Client *client, const char *text) {
  if (send(client->source.fd, text, strlen(text), MSG_NOSIGNAL) < 0) leave(client);
}

static void subscribe(Client *client, Stream *stream, bool all) {
  if (stream->count == stream->room) {
    stream->room = stream->room == 0 ? 16 : 2 * stream->room;
    stream->readers = realloc(stream->readers, stream->room * sizeof *stream->readers);
  }
  client->stream = stream;
  client->index = stream->count;
  client->position = all ? 0 : stream->length;
  stream->readers[stream->count++] = client;
  answer(client, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n");
  if (client->source.fd >= 0) deliver(client);
}

/* The length of the first request in the buffer, or 0 as long as it is not whole. */
static size_t take_request(Client *client) {
  char *request = client->request;
  request[client->length] = '\0';
  char *end = strstr(request, "\r\n\r\n");
  if (end == NULL) return 0;
  char *path = strchr(request, '/');
  if (path == NULL || path > end) die("no request: %.40s", request);
  char *query = NULL;
  unsigned long number = strtoul(path + 1, &query, 10);
  if (number >= MAX_STREAMS) die("no more than %d streams", MAX_STREAMS);
  Stream *stream = &streams[number];
  size_t head = (size_t)(end + 4 - request);
  if (request[0] == 'G') {
    subscribe(client, stream, strncmp(query, "?all", 4) == 0);
    return head;
  }
  const char *field = strcasestr(request, "content-length:");
  size_t body = field == NULL ? 0 : strtoul(field + 15, NULL, 10);
  if (client->length < head + body) return 0;
  publish(stream, request + head, body);
  answer(client, "HTTP/1.1 204 No Content\r\n\r\n");
  return head + body;
}

static void ready(Source *source, uint32_t events) {
  Client *client = (Client *)source;
  if (client->stream != NULL && (events & EPOLLOUT) != 0) deliver(client);
  if ((events & ~(uint32_t)EPOLLOUT) == 0) return;
  static char spare[4096];
  bool is_reader = client->stream != NULL;
  if (!is_reader && client->request == NULL) client->request = malloc(MAX_REQUEST + 1);
  char *into = is_reader ? spare : client->request + client->length;
  size_t room = is_reader ? sizeof spare : MAX_REQUEST - client->length;
  ssize_t got = recv(source->fd, into, room, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) return leave(client);
  if (is_reader) return;
  client->length += (size_t)got;
  for (size_t used; (used = take_request(client)) > 0 && client->source.fd >= 0;) {
    client->length -= used;
    memmove(client->request, client->request + used, client->length);
  }
  if (client->stream == NULL || client->source.fd < 0) return;
  /* An idle reader costs no buffer. */
  free(client->request);
  client->request = NULL;
}

static void take_connection(Source *listener, uint32_t events) {
  (void)events;
  int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0) return;
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  /* Never freed: the loop may still hold it, and a run ends. */
  Client *client = calloc(1, sizeof *client);
  client->source = (Source){.ready = ready, .fd = fd};
  loop_add(&client->source, EPOLLIN);
}

int main(void) {
  static Source listener = {.ready = take_connection};
  raise_file_limit();
  listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  if (bind(listener.fd, (struct sockaddr *)&address, size) < 0) die("bind: errno %d", errno);
  if (listen(listener.fd, BACKLOG) < 0) die("listen: errno %d", errno);
  getsockname(listener.fd, (struct sockaddr *)&address, &size);
  printf("http://127.0.0.1:%u\n", ntohs(address.sin_port));
  fflush(stdout);
  loop_add(&listener, EPOLLIN);
  loop_run(spread_news);
}
