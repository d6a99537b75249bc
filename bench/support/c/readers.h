/* The readers: each a connection, a stream, and the number of the message that must come next. */
#ifndef READERS_H
#define READERS_H

#include <stdbool.h>
#include <stdint.h>

void readers_init(void);
/* Connects all; no more of them at once than the options say. */
void readers_connect(void);
/* To be called often while they connect. True once all have their first byte. */
bool readers_go_on(void);
/* A message is about to be posted: its number, and how many deliveries it makes. */
uint32_t readers_announce(unsigned stream);
/* Leaves what comes with the kernel, or takes it again; not while they connect. */
void readers_stall(bool value);

#endif
