/* Products of uint8 rows with int8 columns. Contract: products.h. */
#define NAME tlf_products_u8
#define LOAD lbu
#include "products.inc"
