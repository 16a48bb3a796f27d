#include "common/base/err.h"

#include "common/base/attr.h"

#include <assert.h>

static const struct {
	const char *name, *code, *title, *text;
	unsigned http;
	bool retry;
} table[ERR_COUNT] = {
	[OK] = {"OK", "OK", "OK", "", 200, false},
#define ERR(name, http, retry, code, title, text) \
	[ERR_##name] = {#name, code, title, text, http, (retry) != 0},
#include "common/base/err.def"
#undef ERR
};

const char *err_name(enum err e)
{
	assert(e < ERR_COUNT);
	return table[e].name;
}

const char *err_code(enum err e)
{
	assert(e < ERR_COUNT);
	return table[e].code;
}

const char *err_title(enum err e)
{
	assert(e < ERR_COUNT);
	return table[e].title;
}

const char *err_text(enum err e)
{
	assert(e < ERR_COUNT);
	return table[e].text;
}

unsigned err_http(enum err e)
{
	assert(e < ERR_COUNT);
	return table[e].http ? table[e].http : 500;
}

bool err_may_retry(enum err e)
{
	assert(e < ERR_COUNT);
	return table[e].retry;
}

enum err err_from_int(long long n)
{
	return n >= 0 && n < ERR_COUNT ? (enum err)n : ERR_INTERNAL;
}
