#include "svc-content/generate/pack.h"

void pack_body(struct buf *body, const struct buf *pairs,
               const struct warnings *w)
{
	mp_array(body, 2);
	mp_bin(body, buf_view(pairs));
	mp_array(body, w->n);
	for (size_t i = 0; i < w->n; i++)
		mp_str(body, w->v[i]);
	body->failed |= pairs->failed;
}

bool pack_open(struct str body, struct str *pairs, struct str *warnings)
{
	struct mp m = mp_open(body);
	uint32_t n;

	return mp_get_array(&m, &n) && n == 2 && mp_get_bin(&m, pairs) &&
	       mp_skip(&m, warnings);
}

static enum source source_from(struct str name)
{
	for (int s = SOURCE_LLM; s <= SOURCE_OFFLINE; s++)
		if (str_eq(name, str_from(source_name((enum source)s))))
			return (enum source)s;
	return SOURCE_NONE;
}

bool pack_again(struct str map, struct str without, struct buf *body,
                enum source *s)
{
	struct str key, value, warnings = STR("\x90");
	struct mp m = mp_open(map);
	AUTO_BUF pairs = {0};
	uint32_t n;

	*s = source_from(mp_find_str(map, "source", STR("")));
	if (*s == SOURCE_NONE || !mp_get_map(&m, &n))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (!mp_get_str(&m, &key) || !mp_skip(&m, &value))
			return false;
		if (str_eq(key, STR("warnings"))) {
			if (!str_eq(value, STR("\xc0")))
				warnings = value;
		} else if (!str_eq(key, STR("source")) &&
		           !str_eq(key, without)) {
			mp_str(&pairs, key);
			mp_raw(&pairs, value);
		}
	}
	mp_array(body, 2);
	mp_bin(body, buf_view(&pairs));
	mp_raw(body, warnings);
	return !pairs.failed && !body->failed;
}

void pack_warnings(struct buf *b, struct str warnings, struct str more)
{
	struct mp m = mp_open(warnings);
	uint32_t n = 0;

	if (!mp_get_array(&m, &n))
		n = 0;
	if (n == 0 && more.n == 0) {
		mp_kv_nil(b, "warnings");
		return;
	}
	mp_kv_array(b, "warnings", n + (more.n > 0));
	if (n > 0)
		mp_raw(b, (struct str){m.p, (size_t)(m.end - m.p)});
	if (more.n)
		mp_str(b, more);
}

enum source pack_source(const struct piece *p, size_t n)
{
	enum source s = SOURCE_CACHE;

	for (size_t i = 0; i < n; i++) {
		if (p[i].source == SOURCE_LLM)
			return SOURCE_LLM;
		if (p[i].source == SOURCE_OFFLINE)
			s = SOURCE_OFFLINE;
	}
	return s;
}
