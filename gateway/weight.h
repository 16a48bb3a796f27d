/*
 * weight - the q parameter of Accept, Accept-Language and their like (RFC
 * 9110, 12.4.2).
 */
#ifndef GATEWAY_WEIGHT_H
#define GATEWAY_WEIGHT_H

#include "common/base/str.h"

#define WEIGHT_ONE 1000

/* Thousandths: 857 for "level=1;q=0.857", WEIGHT_ONE where there is no q, -1
 * where it cannot be read. */
int weight_of(struct str parameters);

#endif
