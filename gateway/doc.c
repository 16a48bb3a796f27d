#include "gateway/doc.h"

#include "common/base/err.h"
#include "gateway/route.h"

void doc_routes(FILE *f)
{
	for (size_t i = 0; i < routes_n; i++) {
		const struct route *r = &routes[i];
		const char *why =
			r->access == ACCESS_ANYONE ? route_reason(r) : NULL;

		(void)fprintf(f, "%-6s %-48s %-8s %-7s %-28s %s%s%s\n",
		              verb_name(r->verb), r->path,
		              access_name(r->access), bus_peer_name(r->service),
		              r->call, r->built ? "built" : "later",
		              why ? "  # " : "", why ? why : "");
	}
}

/* A reason that no open row has is one that was forgotten. */
static unsigned stale_reasons(FILE *f)
{
	static const struct route reasons[] = {
#define ANYONE(method, address, reason) \
	{.verb = VERB_##method, .path = (address)},
#include "gateway/anyone.def"
#undef ANYONE
	};
	unsigned stale = 0;

	for (size_t i = 0; i < COUNTOF(reasons); i++) {
		bool found = false;

		for (size_t r = 0; r < routes_n && !found; r++)
			found = routes[r].access == ACCESS_ANYONE &&
			        routes[r].verb == reasons[i].verb &&
			        strcmp(routes[r].path, reasons[i].path) == 0;
		if (found)
			continue;
		stale++;
		(void)fprintf(f,
		              "FAULT: anyone.def has %s %s, which is no route "
		              "for anyone\n",
		              verb_name(reasons[i].verb), reasons[i].path);
	}
	return stale;
}

bool doc_audit(FILE *f)
{
	unsigned of[ACCESS_INTERNAL + 1] = {0}, faults = 0;

	for (size_t i = 0; i < routes_n; i++) {
		const struct route *r = &routes[i];
		const char *why = route_reason(r);

		of[r->access]++;
		if (r->access != ACCESS_ANYONE)
			continue;
		(void)fprintf(f, "%-6s %-40s %s\n", verb_name(r->verb), r->path,
		              why ? why : "FAULT: no reason in anyone.def");
		faults += !why;
	}
	faults += stale_reasons(f);
	(void)fprintf(f, "%zu routes: ", routes_n);
	for (unsigned a = 0; a <= ACCESS_INTERNAL; a++)
		(void)fprintf(f, "%u %s, ", of[a], access_name((enum access)a));
	(void)fprintf(f, "%u faults\n", faults);
	return faults == 0;
}

/* What libmicrohttpd answers before we are asked; a test sends each and
 * compares. */
static const struct {
	const char *what, *of_0_9_75, *of_1_0_1;
} not_ours[] = {
#define RAW(what, bytes, v0, v1) {what, v0, v1},
#include "gateway/raw.def"
#undef RAW
	/* What does not fit into a line of a table. */
	{"a request line longer than the connection's memory (24 KiB)", "414",
         "414"},
	{"headers longer than the connection's memory", "431", "431"},
	{"a Cookie header of some hundred cookies", "431 431", "431"},
};

void doc_errors(FILE *f)
{
	(void)fputs(
		"# Errors\n\n"
		"Made from `common/base/err.def` by `make docs`.\n\n"
		"Every error is `application/problem+json` (RFC 9457):\n\n"
		"| member | meaning |\n|---|---|\n"
		"| `type` | `/problems/<error_code>`, which the server "
		"explains |\n"
		"| `title`, `error` | the short name |\n"
		"| `status` | the HTTP status |\n"
		"| `detail`, `message` | what to do about it |\n"
		"| `instance` | the path that was asked for |\n"
		"| `error_code` | for programs; stable |\n"
		"| `request_id` | what to quote when asking for help |\n"
		"| `details` | faults of single fields: `pointer`, `code`, "
		"`message` |\n"
		"| `retry_after` | seconds, as in `Retry-After` |\n\n"
		"In development `INTERNAL_SERVER_ERROR` is titled Unexpected "
		"Error and adds `error_type` and `cause`.\n\n"
		"| status | `error_code` | title | default detail | worth "
		"repeating |\n|---|---|---|---|---|\n",
		f);
	for (int i = 1; i < ERR_COUNT; i++) {
		enum err e = (enum err)i;

		if (e == ERR_DB_CONFLICT || e == ERR_DB_DUPLICATE)
			continue; /* stay inside */
		(void)fprintf(f, "| %u | `%s` | %s | %s | %s |\n", err_http(e),
		              err_code(e), err_title(e), err_text(e),
		              err_may_retry(e) ? "yes" : "no");
	}
	(void)fputs("\n## What a page of another origin can read\n\n"
	            "A browser hides an answer without CORS headers, also an "
	            "error, so every error carries those of an origin that is "
	            "listed.  Two come before the gateway has seen the Origin "
	            "header and carry none: a query of more than 64 parameters "
	            "(400), and a head that takes longer than `REQUEST_READ_S` "
	            "(408).\n",
	            f);
	(void)fputs(
		"\n## Refusals that carry no such body\n\n"
		"libmicrohttpd refuses these itself, before the gateway sees "
		"a request.  Seen, in HTML, before it closes (nothing: it "
		"closes in silence; ours: the gateway refuses it, as above):"
		"\n\n"
		"| request | of 0.9.75 (Debian 12) | of 1.0.1 (Debian 13) "
		"|\n|---|---|---|\n",
		f);
	for (size_t i = 0; i < COUNTOF(not_ours); i++)
		(void)fprintf(f, "| %s | %s | %s |\n", not_ours[i].what,
		              not_ours[i].of_0_9_75, not_ours[i].of_1_0_1);
	(void)fputs(
		"\n## Clients that end their side first\n\n"
		"A client may end its side (`shutdown()`, `nc -N`) and wait "
		"for the answer.  What the gateway answers itself it gets.  "
		"What a service answers it gets only if that is faster than "
		"the end: libmicrohttpd 0.9.75 reads the end before it sends, "
		"and closes.  Since nobody would get the answer, the gateway "
		"looks for such clients four times a second and cancels what "
		"they asked for, as when a client goes away.\n",
		f);
}
