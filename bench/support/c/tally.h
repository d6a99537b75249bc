/* What has been delivered, how late, and what is still to come. */
#ifndef TALLY_H
#define TALLY_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  uint64_t deliveries;
  /* Of those that were to come: jumped over by a reader, or seen again. */
  uint64_t lost;
  uint64_t duplicates;
  /* Markers that are none, and so a bug here or damage there. */
  uint64_t malformed;
  /* Connections that the server ended, and responses other than 2xx. */
  uint64_t closed;
  uint64_t refused;
  /* Deliveries that are still to come. */
  uint64_t outstanding;
  /* When something last came: a delivery, or the answer to a post. */
  uint64_t last_ns;
} Tally;

extern Tally tally;

/* A time in which something is to come, and what this thread did in it. */
typedef struct {
  bool is_open;
  uint64_t ns, cpu_ns, idle_ns;
  uint64_t since_ns, cpu_since_ns, idle_since_ns;
} Use;

/* Nothing happens to one that has begun, or ended, already. */
void use_begin(Use *use);
void use_end(Use *use);
/* The share of it that this thread had something to do, and the share that it had its core. */
double use_busy(const Use *use);
double use_had(const Use *use);

/* All but what is outstanding begins at zero. */
void tally_reset(void);
void tally_expect(uint64_t deliveries);
void tally_deliver(uint64_t sent_ns, uint64_t now);
void tally_lose(uint64_t deliveries);
/* Prints one line of JSON. */
void tally_print(void);

#endif
