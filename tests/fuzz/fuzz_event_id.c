/*
 * fuzz_event_id - the id of an event that a client comes back behind.  Whatever
 * is taken consists of a UUID that is a slice of it and a number that is not
 * negative, and written anew is taken again for the same.
 */
#include "svc-content/jobs/jobs.h"

#include "common/base/uuid.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, size}, id, again;
	int64_t number = -1, once_more = -1;
	AUTO_BUF written = {0};

	if (!jobs_event_id(text, &id, &number))
		return 0;
	assert(id.p == text.p && id.n < text.n);
	assert(uuid_valid(id) && number >= 0);
	buf_printf(&written, "%.*s.%lld", STR_FMT(id), (long long)number);
	assert(jobs_event_id(buf_view(&written), &again, &once_more));
	assert(str_eq(again, id) && once_more == number);
	return 0;
}
