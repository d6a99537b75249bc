/* One thread, one epoll: whoever has a file descriptor is a Source. */
#ifndef LOOP_H
#define LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

/* The first member of what owns the descriptor. */
typedef struct Source {
  void (*ready)(struct Source *self, uint32_t events);
  int fd;
} Source;

void loop_add(Source *source, uint32_t events);
void loop_change(Source *source, uint32_t events);
/* Has it look again and again for events rather than sleep, until it is told false as often. */
void loop_spin(bool spins);
/* How long there was nothing to do, while it spun. */
uint64_t loop_idle_ns(void);
/* Runs for ever; `after` is called behind each batch of events, and at least ten times a second. */
void loop_run(void (*after)(void));

#endif
