/* What the port and the stub use of the C library, for compilers that come without one. */
int printf(const char *format, ...);
