/*
 * fuzz_accept - whatever a client sends, the form chosen is one of those that
 * there are, and one that was refused alone is not chosen among several.
 */
#include "gateway/accept.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};
	unsigned taken = 0;

	for (unsigned f = 0; f < FORM_COUNT; f++) {
		enum form got = FORM_COUNT;

		if (!accept_choose(in, 1U << f, &got))
			continue;
		assert(got == (enum form)f);
		taken |= 1U << f;
	}
	for (unsigned forms = 1; forms < 1U << FORM_COUNT; forms++) {
		enum form got = FORM_COUNT;
		bool any = accept_choose(in, forms, &got);

		assert(any == ((taken & forms) != 0));
		assert(!any || (taken & forms & 1U << got));
	}
	return 0;
}
