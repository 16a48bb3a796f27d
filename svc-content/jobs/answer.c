/* What an answer has one by one, and the rest of it. */
#include "svc-content/jobs/run.h"

bool answer_items(struct str answer, const char *name, struct str *list)
{
	struct mp m;

	if (!*name)
		*list = answer;
	else if (!mp_find(answer, name, list))
		return false;
	m = mp_open(*list);
	return mp_peek(&m) == MP_ARRAY;
}

bool answer_rest(struct str answer, const char *name, struct buf *out)
{
	struct mp m = mp_open(answer);
	AUTO_BUF pairs = {0};
	struct str key, value;
	uint32_t n, kept = 0;

	if (!*name) {
		mp_map(out, 0);
		return true;
	}
	if (!mp_get_map(&m, &n))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (!mp_get_str(&m, &key) || !mp_skip(&m, &value))
			return false;
		if (str_eq(key, str_from(name)))
			continue;
		mp_str(&pairs, key);
		mp_raw(&pairs, value);
		kept++;
	}
	mp_map(out, kept);
	mp_raw(out, buf_view(&pairs));
	return !pairs.failed;
}
