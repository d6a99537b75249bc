#include "readers.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "loop.h"
#include "marker.h"
#include "options.h"
#include "response.h"
#include "tally.h"

#define TOKEN 96

typedef struct {
  Source source;
  unsigned stream;
  uint32_t next_seq;
  bool is_connecting;
  bool has_byte;
  MarkerPart part;
  Response response;
  /* Where a long-poll goes on: of Durable Streams, and of nchan. */
  char offset[TOKEN], cursor[TOKEN], etag[TOKEN], modified[TOKEN];
} Reader;

typedef struct {
  uint32_t published;
  uint32_t readers;
} Stream;

static Reader *readers;
static Stream *streams;
static unsigned opened, with_byte;
static char received[256 * 1024];
static uint64_t received_ns;

static void ready(Source *source, uint32_t events);

void readers_init(void) {
  readers = calloc(options.readers, sizeof *readers);
  streams = calloc(options.streams, sizeof *streams);
  for (unsigned index = 0; index < options.streams; index += 1) {
    streams[index].published = options.history;
  }
}

uint32_t readers_announce(unsigned stream) {
  tally_expect(streams[stream].readers);
  return streams[stream].published++;
}

static void open_reader(Reader *reader, unsigned index) {
  reader->stream = index % options.streams;
  reader->is_connecting = true;
  strcpy(reader->offset, "now");
  response_reset(&reader->response);
  reader->source = (Source){.ready = ready, .fd = connect_to_server(false, options.receive_buffer)};
  loop_add(&reader->source, EPOLLOUT);
}

void readers_connect(void) {
  for (; opened < options.readers && opened - with_byte < options.in_flight; opened += 1) {
    open_reader(&readers[opened], opened);
  }
}

bool readers_go_on(void) {
  readers_connect();
  return with_byte == options.readers;
}

void readers_stall(bool value) {
  for (unsigned index = 0; index < opened; index += 1) {
    Source *source = &readers[index].source;
    if (source->fd >= 0) loop_change(source, value ? 0 : EPOLLIN);
  }
}

/* It is with the server from now on: what is published next must reach it. */
static void have_byte(Reader *reader) {
  if (reader->has_byte) return;
  reader->has_byte = true;
  with_byte += 1;
  Stream *stream = &streams[reader->stream];
  stream->readers += 1;
  reader->next_seq = stream->published - options.history;
  tally_expect(options.history);
}

static void close_reader(Reader *reader) {
  tally.closed += 1;
  close(reader->source.fd);
  reader->source.fd = -1;
}

static void ask(Reader *reader) {
  char path[512], request[1024];
  render_path(path, sizeof path, options.get, reader->stream, reader->offset);
  bool has_cursor = options.poll && reader->cursor[0] != '\0';
  bool has_etag = options.poll && strstr(options.get, "{offset}") == NULL && reader->etag[0] != '\0';
  int length = snprintf(request, sizeof request, "GET %s%s%s HTTP/1.1\r\nHost: bench\r\n", path,
                        has_cursor ? "&cursor=" : "", has_cursor ? reader->cursor : "");
  if (has_etag) {
    length += snprintf(request + length, sizeof request - (size_t)length,
                       "If-None-Match: %s\r\nIf-Modified-Since: %s\r\n", reader->etag,
                       reader->modified);
  }
  length += snprintf(request + length, sizeof request - (size_t)length, "%s\r\n",
                     options.poll ? "" : "Accept: text/event-stream\r\n");
  response_reset(&reader->response);
  if (send(reader->source.fd, request, (size_t)length, MSG_NOSIGNAL) != length) close_reader(reader);
}

static void keep(char *token, const char *value) { snprintf(token, TOKEN, "%s", value); }

static void take_header(void *owner, const char *name, const char *value) {
  Reader *reader = owner;
  if (!options.poll) return;
  if (strcasecmp(name, "stream-next-offset") == 0) keep(reader->offset, value);
  else if (strcasecmp(name, "stream-cursor") == 0) keep(reader->cursor, value);
  else if (strcasecmp(name, "etag") == 0) keep(reader->etag, value);
  else if (strcasecmp(name, "last-modified") == 0) keep(reader->modified, value);
}

static void take_marker(Reader *reader, const char *text) {
  Marker marker;
  if (!marker_parse(text, &marker)) {
    tally.malformed += 1;
  } else if (marker.seq < reader->next_seq) {
    tally.duplicates += 1;
  } else {
    if (marker.seq > reader->next_seq) tally_lose(marker.seq - reader->next_seq);
    reader->next_seq = marker.seq + 1;
    tally_deliver(marker.sent_ns, received_ns);
  }
}

static void take_body(void *owner, const char *bytes, size_t length) {
  Reader *reader = owner;
  const char *end = bytes + length;
  while (bytes < end) {
    const char *marker = marker_next(&reader->part, &bytes, end);
    if (marker != NULL) take_marker(reader, marker);
  }
}

static const ResponseTaker TAKER = {.header = take_header, .body = take_body};

static void take(Reader *reader, const char *bytes, size_t length) {
  have_byte(reader);
  while (length > 0 && reader->source.fd >= 0) {
    size_t used = response_feed(&reader->response, bytes, length, &TAKER, reader);
    bytes += used;
    length -= used;
    if (reader->response.phase != IS_COMPLETE) continue;
    if (reader->response.status >= 300) tally.refused += 1;
    /* One that is refused would be refused again at once. */
    if (options.poll && reader->response.status < 300) ask(reader);
    else close_reader(reader);
  }
}

static void begin(Reader *reader) {
  reader->is_connecting = false;
  loop_change(&reader->source, EPOLLIN);
  ask(reader);
  /* Nothing comes of a long-poll before there is a message: all that can be known is that it went. */
  if (options.poll) have_byte(reader);
}

static void ready(Source *source, uint32_t events) {
  Reader *reader = (Reader *)source;
  if (reader->is_connecting && (events & (EPOLLERR | EPOLLHUP)) == 0) return begin(reader);
  ssize_t length = recv(source->fd, received, sizeof received, 0);
  received_ns = now_ns();
  if (length > 0) take(reader, received, (size_t)length);
  else if (length == 0 || errno != EAGAIN) close_reader(reader);
}
