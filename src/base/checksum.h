/* A checksum of many bytes at about the speed of reading them, by all threads. It finds damage and mix-ups; it is no
 * defence against a forger. The value is the same on every machine of one byte order and for any pool. */
#ifndef TERN_BASE_CHECKSUM_H
#define TERN_BASE_CHECKSUM_H

#include "base/pool.h"

/* pool NULL: by the caller alone. */
uint64_t tern_checksum(tern_pool *pool, const void *data, size_t size);
/* A number that stands for both, in this order. */
uint64_t tern_checksum_join(uint64_t a, uint64_t b);

#endif
