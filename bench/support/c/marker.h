/*
 * What each message begins with: "@<seq, 10 digits> <ns of CLOCK_MONOTONIC, 20 digits>@". Nothing
 * else in a response has an @, so a reader finds it whatever a server wraps around messages.
 */
#ifndef MARKER_H
#define MARKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MARKER_BYTES 33

typedef struct {
  uint32_t seq;
  uint64_t sent_ns;
} Marker;

/* The beginning of a marker that was cut. */
typedef struct {
  unsigned char length;
  char bytes[MARKER_BYTES];
} MarkerPart;

static inline uint64_t digits_at(const char *text, int count) {
  uint64_t value = 0;
  for (int index = 0; index < count; index += 1) value = value * 10 + (uint64_t)(text[index] - '0');
  return value;
}

static inline bool marker_parse(const char *text, Marker *marker) {
  if (text[11] != ' ' || text[MARKER_BYTES - 1] != '@') return false;
  marker->seq = (uint32_t)digits_at(text + 1, 10);
  marker->sent_ns = digits_at(text + 12, 20);
  return true;
}

/* The next marker that is whole, or NULL once all bytes are used; valid until the next call. */
static inline const char *marker_next(MarkerPart *part, const char **bytes, const char *end) {
  if (part->length == 0) {
    const char *found = memchr(*bytes, '@', (size_t)(end - *bytes));
    *bytes = found == NULL ? end : found;
    if (end - *bytes >= MARKER_BYTES) {
      *bytes += MARKER_BYTES;
      return found;
    }
  }
  size_t missing = (size_t)(MARKER_BYTES - part->length);
  size_t taken = (size_t)(end - *bytes) < missing ? (size_t)(end - *bytes) : missing;
  memcpy(part->bytes + part->length, *bytes, taken);
  *bytes += taken;
  part->length = (unsigned char)(part->length + taken);
  if (part->length < MARKER_BYTES) return NULL;
  part->length = 0;
  return part->bytes;
}

#endif
