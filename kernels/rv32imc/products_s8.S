/* Products of int8 rows with int8 columns. Contract: products.h. */
#define NAME tlf_products_s8
#define LOAD lb
#include "products.inc"
