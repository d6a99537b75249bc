#include "loop.h"

#include <errno.h>

#include "common.h"

#define BATCH 1024
#define TICK_MS 100

static int epoll = -1;
/* For how many things at once. */
static unsigned spinning;
static uint64_t idle_ns;

static void control(int operation, Source *source, uint32_t events) {
  if (epoll < 0) epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = events, .data.ptr = source};
  if (epoll_ctl(epoll, operation, source->fd, &event) < 0) die("epoll_ctl: errno %d", errno);
}

void loop_add(Source *source, uint32_t events) { control(EPOLL_CTL_ADD, source, events); }

void loop_change(Source *source, uint32_t events) { control(EPOLL_CTL_MOD, source, events); }

void loop_spin(bool spins) { spinning += spins ? 1 : -1; }

uint64_t loop_idle_ns(void) { return idle_ns; }

void loop_run(void (*after)(void)) {
  struct epoll_event events[BATCH];
  for (;;) {
    uint64_t since_ns = spinning > 0 ? now_ns() : 0;
    int count = epoll_wait(epoll, events, BATCH, spinning > 0 ? 0 : TICK_MS);
    if (count < 0 && errno != EINTR) die("epoll_wait: errno %d", errno);
    for (int index = 0; index < count; index += 1) {
      Source *source = events[index].data.ptr;
      /* One that was closed within this batch has none. */
      if (source->fd >= 0) source->ready(source, events[index].events);
    }
    after();
    if (since_ns > 0 && count == 0) idle_ns += now_ns() - since_ns;
  }
}
