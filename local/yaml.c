#include "local/yaml.h"

#include "common/base/attr.h"
#include "common/base/str.h"

#define FLOW_MAX 72 /* characters of what stands in one line */

/* NOLINTBEGIN(misc-no-recursion) as deep as the value */

/* Letters first, and nothing that YAML could read as something else. */
static bool is_plain(const char *s)
{
	static const char *const words[] = {
		"true", "false", "null", "yes", "no", "on", "off", "y", "n",
	};
	const char *first = "abcdefghijklmnopqrstuvwxyz"
			    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t n = strlen(s);

	if (n == 0 || !strchr(first, s[0]) || s[n - 1] == ' ')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!strchr(first, s[i]) && !strchr("0123456789_-./ ", s[i]))
			return false;
	for (size_t i = 0; i < COUNTOF(words); i++)
		if (strcasecmp(words[i], s) == 0)
			return false;
	return true;
}

static void scalar(FILE *f, json_t *v)
{
	const char *text = json_string_value(v);

	if (text && is_plain(text))
		(void)fputs(text, f);
	else
		(void)json_dumpf(v, f, JSON_ENCODE_ANY);
}

static void key_out(FILE *f, const char *key)
{
	json_t *text = json_string(key);

	scalar(f, text);
	json_decref(text);
}

/* What is short stands in one line, as JSON, which YAML includes. */
static bool is_block(json_t *v)
{
	char line[FLOW_MAX];

	if (json_object_size(v) == 0 && json_array_size(v) == 0)
		return false;
	return json_dumpb(v, line, sizeof(line), 0) > sizeof(line);
}

static void write_at(FILE *f, json_t *v, int depth, bool on_line);

static void write_map(FILE *f, json_t *v, int depth, bool on_line)
{
	for (void *at = json_object_iter(v); at;
	     at = json_object_iter_next(v, at)) {
		json_t *value = json_object_iter_value(at);

		(void)fprintf(f, "%*s", on_line ? 0 : depth * 2, "");
		on_line = false;
		key_out(f, json_object_iter_key(at));
		(void)fputs(is_block(value) ? ":\n" : ": ", f);
		write_at(f, value, depth + 1, false);
	}
}

/* on_line: "- " stands before it on its first line. */
static void write_at(FILE *f, json_t *v, int depth, bool on_line)
{
	if (!is_block(v)) {
		scalar(f, v);
		(void)fputc('\n', f);
		return;
	}
	if (json_is_object(v)) {
		write_map(f, v, depth, on_line);
		return;
	}
	if (on_line) /* a list in a list has lines of its own */
		(void)fputc('\n', f);
	for (size_t i = 0; i < json_array_size(v); i++) {
		(void)fprintf(f, "%*s- ", depth * 2, "");
		write_at(f, json_array_get(v, i), depth + 1, true);
	}
}

void yaml_write(FILE *f, json_t *v)
{
	write_at(f, v, 0, false);
}

/* NOLINTEND(misc-no-recursion) */
