/*
 * fuzz_head - the first line of the input is a target, each other line a
 * header; what is accepted keeps the rules that smuggling needs broken.
 */
#include "common/base/utf8.h"
#include "gateway/head.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest = {(const char *)data, size};
	struct str target = str_cut(&rest, '\n');
	unsigned hosts = 0, lengths = 0, codings = 0;
	struct head h = {0};

	head_target(&h, STR("POST"), target, STR("HTTP/1.1"));
	while (rest.n) {
		struct str value = str_cut(&rest, '\n');
		struct str name = str_cut(&value, ':');

		hosts += str_ieq(name, STR("host"));
		lengths += str_ieq(name, STR("content-length"));
		codings += str_ieq(name, STR("transfer-encoding"));
		head_line(&h, name, value);
	}
	if (head_end(&h) != OK) {
		assert(h.reason);
		return 0;
	}
	assert(hosts == 1 && lengths + codings <= 1);
	assert(h.chunked == (codings == 1) && h.has_length == (lengths == 1));
	assert(h.lines <= HEAD_LINES_MAX && h.bytes <= HEAD_TOTAL_MAX);
	assert(h.path.n && utf8_valid(h.path) && utf8_valid(h.query));
	assert(!memchr(h.path.p, ' ', h.path.n));
	(void)head_is_json(h.content_type);
	assert(!head_request_id_valid(h.request_id) || h.request_id.n <= 128);
	return 0;
}
