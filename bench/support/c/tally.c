#include "tally.h"

#include <string.h>

#include "common.h"

/* Latencies in buckets of a 64th of their power of two: 1.6 % exact, from 1 ns to any. */
#define SUB_BITS 6
#define SUB (1u << SUB_BITS)
#define BUCKETS ((64 - SUB_BITS + 1) * SUB)

Tally tally;
static uint64_t histogram[BUCKETS];
static uint64_t begun_ns;
/* While deliveries are outstanding: the time, and how much of it this thread was busy. */
static uint64_t active_ns, active_cpu_ns, active_since_ns, active_cpu_since_ns;

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

static void begin_active(void) {
  active_since_ns = now_ns();
  active_cpu_since_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void end_active(void) {
  active_ns += now_ns() - active_since_ns;
  active_cpu_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - active_cpu_since_ns;
}

void tally_reset(void) {
  uint64_t outstanding = tally.outstanding;
  memset(&tally, 0, sizeof tally);
  memset(histogram, 0, sizeof histogram);
  tally.outstanding = outstanding;
  active_ns = active_cpu_ns = 0;
  begun_ns = tally.last_ns = now_ns();
  if (outstanding > 0) begin_active();
}

void tally_expect(uint64_t deliveries) {
  if (deliveries == 0) return;
  if (tally.outstanding == 0) begin_active();
  tally.outstanding += deliveries;
}

static void settle(uint64_t deliveries) {
  tally.outstanding -= deliveries < tally.outstanding ? deliveries : tally.outstanding;
  if (tally.outstanding == 0) end_active();
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
  if (tally.outstanding > 0) end_active();
  double busy = active_ns == 0 ? 0 : (double)active_cpu_ns / (double)active_ns;
  printf("{\"seconds\":%.6f,\"deliveries\":%lu,\"missing\":%lu,\"duplicates\":%lu,"
         "\"malformed\":%lu,\"closed\":%lu,\"refused\":%lu,"
         "\"p50Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f,\"maxUs\":%.1f,"
         "\"activeSeconds\":%.6f,\"busy\":%.4f}\n",
         (double)(now_ns() - begun_ns) / 1e9, tally.deliveries, tally.lost + tally.outstanding,
         tally.duplicates, tally.malformed, tally.closed, tally.refused, quantile_us(0.5),
         quantile_us(0.99), quantile_us(0.999), quantile_us(1), (double)active_ns / 1e9, busy);
  fflush(stdout);
}
