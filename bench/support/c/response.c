#include "response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common.h"

void response_reset(Response *response) {
  response->phase = IN_STATUS;
  response->is_chunked = response->has_length = false;
  response->left = 0;
  response->line_length = 0;
}

/* Gathers a line without its end; true once it is whole. */
static bool take_line(Response *response, const char *bytes, size_t length, size_t *taken) {
  const char *end = memchr(bytes, '\n', length);
  size_t part = end == NULL ? length : (size_t)(end - bytes);
  if (response->line_length + part >= LINE_MAX_BYTES) die("a line of a head is too long");
  memcpy(response->line + response->line_length, bytes, part);
  response->line_length += part;
  *taken = end == NULL ? part : part + 1;
  if (end == NULL) return false;
  size_t line = response->line_length;
  if (line > 0 && response->line[line - 1] == '\r') line -= 1;
  response->line[line] = '\0';
  response->line_length = 0;
  return true;
}

static ResponsePhase after_head(const Response *response) {
  if (response->status < 200) return IN_STATUS;
  if (response->status == 204 || response->status == 304) return IS_COMPLETE;
  if (response->is_chunked) return IN_CHUNK_SIZE;
  if (!response->has_length) return IN_REST;
  return response->left == 0 ? IS_COMPLETE : IN_LENGTH;
}

static void take_header(Response *response, const ResponseTaker *taker, void *owner) {
  char *value = strchr(response->line, ':');
  if (value == NULL) return;
  *value = '\0';
  for (value += 1; *value == ' ';) value += 1;
  if (strcasecmp(response->line, "transfer-encoding") == 0) {
    response->is_chunked = strcasecmp(value, "chunked") == 0;
  } else if (strcasecmp(response->line, "content-length") == 0) {
    response->has_length = true;
    response->left = strtoull(value, NULL, 10);
  } else if (taker->header != NULL) {
    taker->header(owner, response->line, value);
  }
}

static void end_line(Response *response, const ResponseTaker *taker, void *owner) {
  switch (response->phase) {
    case IN_STATUS:
      /* "HTTP/1.1 200 …" */
      response->status = response->line[0] == '\0' ? 0 : atoi(response->line + 9);
      if (response->status != 0) response->phase = IN_HEADERS;
      return;
    case IN_HEADERS:
      if (response->line[0] == '\0') response->phase = after_head(response);
      else take_header(response, taker, owner);
      return;
    case IN_CHUNK_SIZE:
      response->left = strtoull(response->line, NULL, 16);
      response->phase = response->left == 0 ? IN_TRAILERS : IN_CHUNK;
      return;
    case IN_CHUNK_END:
      response->phase = IN_CHUNK_SIZE;
      return;
    case IN_TRAILERS:
      if (response->line[0] == '\0') response->phase = IS_COMPLETE;
      return;
    default:
      die("no line is expected in phase %d", response->phase);
  }
}

static size_t take_body(Response *response, const char *bytes, size_t length,
                        const ResponseTaker *taker, void *owner) {
  bool has_end = response->phase != IN_REST;
  size_t part = has_end && response->left < length ? response->left : length;
  if (taker->body != NULL) taker->body(owner, bytes, part);
  if (!has_end) return part;
  response->left -= part;
  if (response->left == 0) {
    response->phase = response->phase == IN_CHUNK ? IN_CHUNK_END : IS_COMPLETE;
  }
  return part;
}

size_t response_feed(Response *response, const char *bytes, size_t length,
                     const ResponseTaker *taker, void *owner) {
  size_t used = 0;
  while (used < length && response->phase != IS_COMPLETE) {
    size_t taken = 0;
    ResponsePhase phase = response->phase;
    if (phase == IN_LENGTH || phase == IN_CHUNK || phase == IN_REST) {
      taken = take_body(response, bytes + used, length - used, taker, owner);
    } else if (take_line(response, bytes + used, length - used, &taken)) {
      end_line(response, taker, owner);
    }
    used += taken;
  }
  return used;
}
