#include "tally.h"

#include <string.h>

#include "common.h"
#include "loop.h"
#include "options.h"

/* Latencies in buckets of a 64th of their power of two: 1.6 % exact, from 1 ns to any. */
#define SUB_BITS 6
#define SUB (1u << SUB_BITS)
#define BUCKETS ((64 - SUB_BITS + 1) * SUB)

Tally tally;
static uint64_t histogram[BUCKETS];
static uint64_t begun_ns;
static Use active;

static unsigned bucket_of(uint64_t value) {
  if (value < SUB) return (unsigned)value;
  unsigned shift = 63u - (unsigned)__builtin_clzll(value) - SUB_BITS;
  return (shift + 1) * SUB + (unsigned)((value >> shift) - SUB);
}

static double middle_of(unsigned bucket) {
  if (bucket < SUB) return bucket;
  unsigned shift = bucket / SUB - 1;
  return ((double)(bucket % SUB + SUB) + 0.5) * (double)(1ull << shift);
}

static double quantile_us(double share) {
  uint64_t rank = (uint64_t)((double)(tally.deliveries - 1) * share);
  if (tally.deliveries == 0) return 0;
  uint64_t below = 0;
  for (unsigned bucket = 0; bucket < BUCKETS; bucket += 1) {
    below += histogram[bucket];
    if (below > rank) return middle_of(bucket) / 1000;
  }
  return 0;
}

void use_begin(Use *use) {
  if (use->is_open) return;
  use->is_open = true;
  use->since_ns = now_ns();
  use->cpu_since_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  use->idle_since_ns = loop_idle_ns();
  if (options.spin) loop_spin(true);
}

void use_end(Use *use) {
  if (!use->is_open) return;
  use->is_open = false;
  use->ns += now_ns() - use->since_ns;
  use->cpu_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - use->cpu_since_ns;
  use->idle_ns += loop_idle_ns() - use->idle_since_ns;
  if (options.spin) loop_spin(false);
}

double use_busy(const Use *use) {
  if (use->ns == 0) return 0;
  return (double)(options.spin ? use->ns - use->idle_ns : use->cpu_ns) / (double)use->ns;
}

double use_had(const Use *use) {
  return use->ns == 0 || !options.spin ? 1 : (double)use->cpu_ns / (double)use->ns;
}

void tally_reset(void) {
  uint64_t outstanding = tally.outstanding;
  use_end(&active);
  memset(&tally, 0, sizeof tally);
  memset(histogram, 0, sizeof histogram);
  tally.outstanding = outstanding;
  active = (Use){0};
  begun_ns = tally.last_ns = now_ns();
  if (outstanding > 0) use_begin(&active);
}

void tally_expect(uint64_t deliveries) {
  if (deliveries == 0) return;
  if (tally.outstanding == 0) use_begin(&active);
  tally.outstanding += deliveries;
}

static void settle(uint64_t deliveries) {
  tally.outstanding -= deliveries < tally.outstanding ? deliveries : tally.outstanding;
  if (tally.outstanding == 0) use_end(&active);
}

void tally_deliver(uint64_t sent_ns, uint64_t now) {
  tally.deliveries += 1;
  tally.last_ns = now;
  histogram[bucket_of(now > sent_ns ? now - sent_ns : 0)] += 1;
  settle(1);
}

void tally_lose(uint64_t deliveries) {
  tally.lost += deliveries;
  settle(deliveries);
}

void tally_print(void) {
  use_end(&active);
  printf("{\"seconds\":%.6f,\"deliveries\":%lu,\"missing\":%lu,\"duplicates\":%lu,"
         "\"malformed\":%lu,\"closed\":%lu,\"refused\":%lu,"
         "\"p50Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f,\"maxUs\":%.1f,"
         "\"activeSeconds\":%.6f,\"busy\":%.4f,\"had\":%.4f}\n",
         (double)(now_ns() - begun_ns) / 1e9, tally.deliveries, tally.lost + tally.outstanding,
         tally.duplicates, tally.malformed, tally.closed, tally.refused, quantile_us(0.5),
         quantile_us(0.99), quantile_us(0.999), quantile_us(1), (double)active.ns / 1e9,
         use_busy(&active), use_had(&active));
  fflush(stdout);
}
