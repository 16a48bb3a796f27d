/*
 * token - the characters of names in a head (RFC 9110, 5.6.2).
 */
#ifndef GATEWAY_TOKEN_H
#define GATEWAY_TOKEN_H

#include "common/base/str.h"

bool token_has(char c);
bool token_is(struct str s); /* one or more of them */

#endif
