/*
 * fuzz_origins - the first line is CORS_ORIGINS, the second an Origin: who is
 * let in stands on the list, but for case, and never with "*" outside
 * development or as "null".
 */
#include "gateway/cors.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool listed(struct str list, struct str origin)
{
	while (list.n)
		if (str_ieq(str_trim(str_cut(&list, ',')), origin))
			return true;
	return false;
}

static bool sound(enum cors_verdict v, enum env env, struct str list,
                  struct str origin)
{
	if (v == CORS_NO)
		return true;
	if (origin.n == 0 || str_ieq(origin, STR("null")))
		return false;
	return v == CORS_EXACT ? listed(list, origin) : env == ENV_DEVELOPMENT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str origin = {(const char *)data, size};
	struct str list = str_cut(&origin, '\n');

	if (list.n == 0)
		list = STR("https://a.example");
	for (int e = ENV_DEVELOPMENT; e <= ENV_PRODUCTION; e++) {
		const struct settings conf = {
			.env = (enum env)e,
			.cors_enabled = true,
			.cors_origins = list,
		};
		const char *why = NULL;
		AUTO(cors) c = cors_new(&conf, &why);

		assert(c ? !why : why != NULL);
		assert(!c ||
		       sound(cors_check(c, origin), (enum env)e, list, origin));
	}
	return 0;
}
