/*
 * Readers by the thousand and one publisher, in one thread and one epoll: it must cost less than
 * any server under measurement. It is told what to do line by line on stdin and answers each line
 * with one of JSON:
 *
 *   connect                                 opens all readers; answers when each has a byte
 *   publish <turns> <messages> <ns>         posts in turns; answers when every reader has them all
 *   receive                                 answers when every reader has what is outstanding
 *   stall                                   readers read no more; `publish` waits for answers alone
 *   resume                                  they do again, and what they have from now on is counted
 *
 * It ends with its stdin, and resets its connections, so that none lingers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "loop.h"
#include "marker.h"
#include "options.h"
#include "publisher.h"
#include "readers.h"
#include "tally.h"

/* No delivery and no answer for so long: what is outstanding is missing. */
#define STALL_NS (10 * SECOND_NS)
/* Of Ethernet. The kernel measures a socket's buffers in segments, and those of loopback are 64 KiB. */
#define SEGMENT_BYTES 1460
/* The slowest server takes a few seconds for ten thousand. */
#define CONNECT_NS (60 * SECOND_NS)

Options options = {.streams = 1,
                   .type = "text/plain",
                   .bytes = 200,
                   .in_flight = 400,
                   .publishers = 1};

static enum { IDLE, CONNECTING, DELIVERING } work = IDLE;
static bool is_stalled;
static Use connecting;

unsigned render_path(char *into, unsigned size, const char *path, unsigned stream,
                     const char *offset) {
  unsigned length = 0;
  while (*path != '\0' && length + 1 < size) {
    if (strncmp(path, "{i}", 3) == 0) {
      length += (unsigned)snprintf(into + length, size - length, "%u", stream);
      path += 3;
    } else if (strncmp(path, "{offset}", 8) == 0) {
      length += (unsigned)snprintf(into + length, size - length, "%s", offset);
      path += 8;
    } else {
      into[length++] = *path++;
    }
  }
  if (length >= size) die("the path is too long");
  into[length] = '\0';
  return length;
}

int connect_to_server(bool may_block, unsigned receive_buffer) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("no more sockets: errno %d", errno);
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (receive_buffer > 0) {
    /* Both before it connects: the window and the segments are agreed upon then. */
    int size = (int)receive_buffer, segment = SEGMENT_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
  }
  if (!may_block) fcntl(fd, F_SETFL, O_NONBLOCK);
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)options.port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int result = connect(fd, (struct sockaddr *)&address, sizeof address);
  if (result < 0 && errno != EINPROGRESS) die("connect: errno %d", errno);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

static void set_option(char *argument) {
  char *value = strchr(argument, '=');
  if (value == NULL) die("not name=value: %s", argument);
  *value++ = '\0';
  unsigned number = (unsigned)strtoul(value, NULL, 10);
  if (strcmp(argument, "port") == 0) options.port = number;
  else if (strcmp(argument, "readers") == 0) options.readers = number;
  else if (strcmp(argument, "streams") == 0) options.streams = number;
  else if (strcmp(argument, "get") == 0) options.get = value;
  else if (strcmp(argument, "post") == 0) options.post = value;
  else if (strcmp(argument, "type") == 0) options.type = value;
  else if (strcmp(argument, "spin") == 0) options.spin = number != 0;
  else if (strcmp(argument, "poll") == 0) options.poll = number != 0;
  else if (strcmp(argument, "json") == 0) options.json = number != 0;
  else if (strcmp(argument, "bytes") == 0) options.bytes = number;
  else if (strcmp(argument, "history") == 0) options.history = number;
  else if (strcmp(argument, "inFlight") == 0) options.in_flight = number;
  else if (strcmp(argument, "publishers") == 0) options.publishers = number;
  else if (strcmp(argument, "rcvbuf") == 0) options.receive_buffer = number;
  else die("no such option: %s", argument);
}

static void stall(bool value) {
  is_stalled = value;
  readers_stall(value);
  if (!value) tally_reset();
  puts("{}");
  fflush(stdout);
}

static void obey(const char *command) {
  unsigned turns = 0, messages = 0;
  unsigned long interval_ns = 0;
  if (strcmp(command, "connect") == 0) {
    work = CONNECTING;
    tally_reset();
    connecting = (Use){0};
    use_begin(&connecting);
    readers_connect();
  } else if (strcmp(command, "receive") == 0) {
    work = DELIVERING;
  } else if (strcmp(command, "stall") == 0) {
    stall(true);
  } else if (strcmp(command, "resume") == 0) {
    stall(false);
  } else if (sscanf(command, "publish %u %u %lu", &turns, &messages, &interval_ns) == 3) {
    work = DELIVERING;
    tally_reset();
    publisher_begin(turns, messages, interval_ns);
  } else {
    die("no such command: %s", command);
  }
}

static void take_commands(Source *source, uint32_t events) {
  static char line[256];
  static size_t length;
  (void)events;
  ssize_t got = read(source->fd, line + length, sizeof line - 1 - length);
  if (got <= 0) exit(0);
  length += (size_t)got;
  line[length] = '\0';
  char *end = strchr(line, '\n');
  if (end == NULL) return;
  *end = '\0';
  length = 0;
  obey(line);
}

static void look_at_connecting(void) {
  if (now_ns() - connecting.since_ns > CONNECT_NS) die("the readers have not connected in time");
  if (!readers_go_on() && tally.closed == 0) return;
  work = IDLE;
  use_end(&connecting);
  printf("{\"seconds\":%.6f,\"closed\":%lu,\"busy\":%.4f,\"had\":%.4f}\n",
         (double)connecting.ns / 1e9, tally.closed, use_busy(&connecting), use_had(&connecting));
  fflush(stdout);
}

/* What is not there after a while will not come. */
static void look_at_deliveries(void) {
  bool is_done = publisher_is_done() && (is_stalled || tally.outstanding == 0);
  if (!is_done && now_ns() < tally.last_ns + STALL_NS) return;
  work = IDLE;
  tally_print();
}

static void look(void) {
  if (work == CONNECTING) look_at_connecting();
  else if (work == DELIVERING) look_at_deliveries();
}

int main(int count, char **arguments) {
  static Source commands = {.ready = take_commands, .fd = STDIN_FILENO};
  for (int index = 1; index < count; index += 1) set_option(arguments[index]);
  uint64_t limit = raise_file_limit();
  if (options.readers + options.publishers + 16 > limit) {
    die("%u readers need more open files than the limit of %lu: ulimit -n", options.readers, limit);
  }
  if (options.bytes < MARKER_BYTES || options.bytes > MAX_MESSAGE) {
    die("a message has %d to %d bytes", MARKER_BYTES, MAX_MESSAGE);
  }
  readers_init();
  loop_add(&commands, EPOLLIN);
  loop_run(look);
}
