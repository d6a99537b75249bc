#include "publisher.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common.h"
#include "loop.h"
#include "marker.h"
#include "options.h"
#include "readers.h"
#include "response.h"
#include "tally.h"

/* A turn waits while more than this is unanswered: a server need not take all of a history at once. */
#define MAX_UNANSWERED 1000

typedef struct {
  Source source;
  Response response;
  unsigned unanswered;
  char *out;
  size_t length, sent, capacity;
} Connection;

static Connection *connections;
static Source timer = {.fd = -1};
static unsigned turns_left, messages_of_turn, next_stream;

static const ResponseTaker IGNORE = {0};

static void flush(Connection *connection) {
  while (connection->sent < connection->length) {
    size_t left = connection->length - connection->sent;
    ssize_t sent = send(connection->source.fd, connection->out + connection->sent, left,
                        MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) return loop_change(&connection->source, EPOLLIN | EPOLLOUT);
    if (sent < 0) die("a post failed: errno %d", errno);
    connection->sent += (size_t)sent;
  }
  connection->length = connection->sent = 0;
  loop_change(&connection->source, EPOLLIN);
}

static void take_answers(Connection *connection) {
  static char received[64 * 1024];
  ssize_t length = recv(connection->source.fd, received, sizeof received, 0);
  if (length < 0 && errno == EAGAIN) return;
  if (length <= 0) die("the server ended a connection that posts: errno %d", errno);
  for (size_t used = 0; used < (size_t)length;) {
    used += response_feed(&connection->response, received + used, (size_t)length - used, &IGNORE,
                          NULL);
    if (connection->response.phase != IS_COMPLETE) continue;
    if (connection->response.status >= 300) tally.refused += 1;
    connection->unanswered -= 1;
    tally.last_ns = now_ns();
    response_reset(&connection->response);
  }
}

static void ready(Source *source, uint32_t events) {
  if (events & EPOLLOUT) flush((Connection *)source);
  if (events & ~(uint32_t)EPOLLOUT) take_answers((Connection *)source);
}

static void append(Connection *connection, const char *bytes, size_t length) {
  if (connection->length + length > connection->capacity) {
    connection->capacity = 2 * (connection->length + length);
    connection->out = realloc(connection->out, connection->capacity);
  }
  memcpy(connection->out + connection->length, bytes, length);
  connection->length += length;
}

static void append_head(Connection *connection, unsigned stream, size_t body) {
  char path[512], head[1024];
  render_path(path, sizeof path, options.post, stream, "");
  int length = snprintf(head, sizeof head,
                        "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: %s\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        path, options.type, body);
  append(connection, head, (size_t)length);
  connection->unanswered += 1;
}

static void append_message(Connection *connection, unsigned stream) {
  char message[MAX_MESSAGE];
  memset(message, 'x', options.bytes);
  uint32_t seq = readers_announce(stream);
  char marker[MARKER_BYTES + 1];
  snprintf(marker, sizeof marker, "@%010u %020lu@", seq, now_ns());
  memcpy(message, marker, MARKER_BYTES);
  append(connection, message, options.bytes);
}

static void post_one_by_one(void) {
  for (unsigned count = 0; count < messages_of_turn; count += 1) {
    unsigned stream = next_stream++ % options.streams;
    Connection *connection = &connections[stream % options.publishers];
    append_head(connection, stream, options.bytes);
    append_message(connection, stream);
  }
}

static void post_array(void) {
  unsigned stream = next_stream++ % options.streams;
  Connection *connection = &connections[stream % options.publishers];
  append_head(connection, stream, (size_t)messages_of_turn * (options.bytes + 3) + 1);
  for (unsigned count = 0; count < messages_of_turn; count += 1) {
    append(connection, count == 0 ? "[\"" : ",\"", 2);
    append_message(connection, stream);
    append(connection, "\"", 1);
  }
  append(connection, "]", 1);
}

static unsigned unanswered(void) {
  unsigned sum = 0;
  for (unsigned index = 0; index < options.publishers; index += 1) {
    sum += connections[index].unanswered;
  }
  return sum;
}

static void take_turn(void) {
  if (unanswered() >= MAX_UNANSWERED) return;
  turns_left -= 1;
  if (options.json) post_array();
  else post_one_by_one();
  for (unsigned index = 0; index < options.publishers; index += 1) {
    if (connections[index].length > 0) flush(&connections[index]);
  }
}

static void tick(Source *source, uint32_t events) {
  (void)events;
  uint64_t expirations = 0;
  if (read(source->fd, &expirations, sizeof expirations) < 0) return;
  /* A tick that came late is made up for, so that the rate holds. */
  for (; expirations > 0 && turns_left > 0; expirations -= 1) take_turn();
}

/* Fresh ones each time: a server may have ended those that were idle. */
static void open_connections(void) {
  if (connections == NULL) connections = calloc(options.publishers, sizeof *connections);
  for (unsigned index = 0; index < options.publishers; index += 1) {
    Connection *connection = &connections[index];
    if (connection->source.ready != NULL) close(connection->source.fd);
    connection->source = (Source){.ready = ready, .fd = connect_to_server(true, 0)};
    response_reset(&connection->response);
    loop_add(&connection->source, EPOLLIN);
  }
}

void publisher_begin(unsigned turns, unsigned messages, uint64_t interval_ns) {
  open_connections();
  turns_left = turns;
  messages_of_turn = messages;
  if (timer.fd < 0) {
    timer = (Source){.ready = tick, .fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)};
    loop_add(&timer, EPOLLIN);
  }
  struct timespec interval = {.tv_sec = (time_t)(interval_ns / SECOND_NS),
                              .tv_nsec = (long)(interval_ns % SECOND_NS)};
  struct itimerspec times = {.it_value = {.tv_nsec = 1}, .it_interval = interval};
  timerfd_settime(timer.fd, 0, &times, NULL);
}

bool publisher_is_done(void) {
  if (connections == NULL) return true;
  return turns_left == 0 && unanswered() == 0;
}
