#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t size_bytes);
