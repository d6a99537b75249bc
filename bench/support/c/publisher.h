/* Posts messages in turns, over keep-alive connections, without waiting for answers. */
#ifndef PUBLISHER_H
#define PUBLISHER_H

#include <stdbool.h>
#include <stdint.h>

/* Each turn takes as many messages as are said, one stream after the other. */
void publisher_begin(unsigned turns, unsigned messages, uint64_t interval_ns);
/* Whether all is posted and answered. */
bool publisher_is_done(void);

#endif
