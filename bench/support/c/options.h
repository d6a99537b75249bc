/* What the load is told on its command line, as name=value. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#define MAX_MESSAGE (32 * 1024)

typedef struct {
  unsigned port;
  unsigned readers;
  unsigned streams;
  /* Paths; {i} is the number of the stream, {offset} the position of a long-poll. */
  const char *get;
  const char *post;
  const char *type;
  /* A response that ends is followed by the next request. */
  bool poll;
  /* The messages of a turn travel as one JSON array. */
  bool json;
  unsigned bytes;
  /* Messages that each stream has already, which readers will get. */
  unsigned history;
  /* Connections at most that wait for their first byte. */
  unsigned in_flight;
  /* Connections that messages are posted over; one stream's always over the same. */
  unsigned publishers;
  /* Never sleeps while something is to come: it has its core for itself. */
  bool spin;
  /* Bytes that the kernel takes for a reader, about; 0 leaves it to the kernel. */
  unsigned receive_buffer;
} Options;

extern Options options;

/* Copies a path and replaces what is in braces; says how long it is. */
unsigned render_path(char *into, unsigned size, const char *path, unsigned stream,
                     const char *offset);
/* A receive buffer of 0 bytes is one of the kernel's choice. */
int connect_to_server(bool may_block, unsigned receive_buffer);

#endif
