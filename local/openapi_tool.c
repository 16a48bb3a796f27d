/*
 * openapi_tool - makes the documents that the gateway serves, at build time.
 *
 *     openapi_tool local/operations.json gateway/style.css > pages.c
 *
 * What comes out is C: gateway/pages.h declares it.
 */
#include "local/openapi.h"

#include <stdlib.h>

/* As a string literal per line of C, so that compilers take any length. */
static void embed(const char *name, struct str bytes)
{
	(void)printf("static const char %s[] =\n\t\"", name);
	for (size_t i = 0; i < bytes.n; i++) {
		unsigned char c = (unsigned char)bytes.p[i];

		if (c == '"' || c == '\\')
			(void)printf("\\%c", c);
		else if (c >= ' ' && c < 0x7f && c != '?')
			(void)putchar(c);
		else
			(void)printf("\\%03o", c);
		if (i % 72 == 71)
			(void)printf("\"\n\t\"");
	}
	(void)printf("\";\nconst struct str pages_%s = {%s, sizeof(%s) - 1};\n",
	             name, name, name);
}

static bool read_file(const char *path, struct buf *out)
{
	FILE *f = fopen(path, "r");
	size_t n = 0;

	if (!f)
		return false;
	while (buf_reserve(out, 65536) &&
	       (n = fread(out->p + out->n, 1, 65536, f)) > 0)
		out->n += n;
	(void)fclose(f);
	return !out->failed;
}

static bool make(json_t *operations, struct str style)
{
	json_t *document = openapi_build(operations, stderr);
	char *json = document ? json_dumps(document, JSON_COMPACT) : NULL;
	AUTO_BUF page = {0};
	bool ok;

	openapi_page(&page, document);
	ok = json && !page.failed;
	if (ok) {
		(void)printf("/* Made by openapi_tool. */\n"
		             "#include \"gateway/pages.h\"\n");
		embed("openapi", str_from(json));
		embed("docs", buf_view(&page));
		embed("style", style);
		ok = fflush(stdout) == 0;
	}
	free(json);
	json_decref(document);
	return ok;
}

int main(int argc, char **argv)
{
	json_error_t fault = {.line = 0};
	AUTO_BUF style = {0};
	json_t *operations;
	bool ok;

	if (argc != 3)
		return 2;
	operations = json_load_file(argv[1], JSON_REJECT_DUPLICATES, &fault);
	if (!operations)
		(void)fprintf(stderr, "%s:%d: %s\n", argv[1], fault.line,
		              fault.text);
	ok = operations && read_file(argv[2], &style) &&
	     make(operations, buf_view(&style));
	json_decref(operations);
	return ok ? 0 : 1;
}
