/* An HTTP/1.1 response as it arrives: cut anywhere, with a length, in chunks or until the end. */
#ifndef RESPONSE_H
#define RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_MAX_BYTES 512

typedef enum {
  IN_STATUS,
  IN_HEADERS,
  IN_LENGTH,
  IN_CHUNK_SIZE,
  IN_CHUNK,
  IN_CHUNK_END,
  IN_TRAILERS,
  IN_REST,
  IS_COMPLETE,
} ResponsePhase;

typedef struct {
  ResponsePhase phase;
  int status;
  bool is_chunked;
  bool has_length;
  uint64_t left;
  size_t line_length;
  char line[LINE_MAX_BYTES];
} Response;

/* Who takes what is in a response; a NULL is not called. */
typedef struct {
  void (*header)(void *owner, const char *name, const char *value);
  void (*body)(void *owner, const char *bytes, size_t length);
} ResponseTaker;

void response_reset(Response *response);
/* Takes bytes up to the end of the response; says how many. */
size_t response_feed(Response *response, const char *bytes, size_t length,
                     const ResponseTaker *taker, void *owner);

#endif
