/*
 * err - the one error vocabulary of the system.
 *
 * A code says what happened and is all a caller may branch on; the words go
 * to the log where the cause is known, and to the client through ctx_fail().
 * Codes, statuses, wire names and docs/errors.md come from err.def.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

enum err {
	OK = 0,
#define ERR(name, http, retry, code, title, text) ERR_##name,
#include "common/base/err.def"
#undef ERR
	ERR_COUNT
};

const char *err_name(enum err e);  /* "NOT_FOUND", for logs */
const char *err_code(enum err e);  /* error_code on the wire */
const char *err_title(enum err e); /* RFC 9457 title */
const char *err_text(enum err e);  /* default detail */
unsigned err_http(enum err e);     /* 500 for codes that stay inside */
bool err_may_retry(enum err e);
/* A number off the wire; unknown ones become ERR_INTERNAL. */
enum err err_from_int(long long n);

#endif
