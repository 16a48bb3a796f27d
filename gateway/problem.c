#include "gateway/problem.h"

#include "common/base/utf8.h"
#include "common/codec/json.h"
#include "gateway/page.h"

#include <inttypes.h>

unsigned problem_retry_after(enum err e, const struct problem *pb)
{
	unsigned http = err_http(e);

	if (pb && pb->retry_after_s)
		return pb->retry_after_s;
	/* Full is over soon; what is away takes a restart or a reconnect. */
	if (http == 429)
		return 1;
	if (http == 503)
		return e == ERR_BUSY || e == ERR_NOMEM ? 1 : 2;
	return 0;
}

static void member(struct buf *out, const char *name, struct str value)
{
	buf_printf(out, ",\"%s\":", name);
	json_add_str(out, value);
}

static void details(struct buf *out, const struct problem *pb)
{
	if (pb->faults_n == 0)
		return;
	buf_str(out, STR(",\"details\":["));
	for (size_t i = 0; i < pb->faults_n; i++) {
		const struct fault *f = &pb->faults[i];

		buf_str(out, i ? STR(",{\"pointer\":") : STR("{\"pointer\":"));
		json_add_str(out, str_from(f->pointer));
		member(out, "code", str_from(f->code));
		member(out, "message", str_from(f->message));
		buf_char(out, '}');
	}
	buf_char(out, ']');
}

/* Contract 4.4.5. */
static void quota(struct buf *out, const struct quota_problem *q)
{
	member(out, "period", str_from(q->period));
	member(out, "tier", str_from(tier_name(q->tier)));
	buf_printf(out,
	           ",\"usage\":%" PRId64 ",\"limit\":%" PRId64
	           ",\"reset_in_seconds\":%" PRId64,
	           q->usage, q->limit, q->reset_s);
}

void problem_write(struct buf *out, const struct ctx *cx, enum err e,
                   struct str instance, bool development)
{
	const struct problem *pb = &cx->problem;
	bool ours = pb->code == e && pb->detail[0] != '\0';
	bool unexpected = e == ERR_INTERNAL;
	struct str title = unexpected && development ? STR("Unexpected Error")
	                                             : str_from(err_title(e));
	struct str detail = ours && !unexpected ? str_from(pb->detail)
	                                        : str_from(err_text(e));
	unsigned retry_after = problem_retry_after(e, ours ? pb : NULL);

	buf_printf(out, "{\"type\":\"/problems/%s\",\"title\":", err_code(e));
	json_add_str(out, title);
	buf_printf(out, ",\"status\":%u", err_http(e));
	member(out, "detail", detail);
	member(out, "instance",
	       instance.n && utf8_valid(instance) ? instance : STR("/"));
	member(out, "error", title);
	member(out, "message", detail);
	member(out, "error_code", str_from(err_code(e)));
	member(out, "request_id", cx->rid);
	if (pb->code == e)
		details(out, pb);
	if (pb->code == e && pb->challenge[0]) {
		member(out, "challenge", str_from(pb->challenge));
		buf_str(out, STR(",\"factors\":[\"totp\",\"recovery_code\"]"));
	}
	if (pb->code == e && pb->quota.period[0])
		quota(out, &pb->quota);
	if (retry_after)
		buf_printf(out, ",\"retry_after\":%u", retry_after);
	if (unexpected && development) {
		member(out, "error_type", str_from(err_name(e)));
		if (ours)
			member(out, "cause", str_from(pb->detail));
	}
	buf_char(out, '}');
}

/* The next error from e on with that code, ERR_COUNT behind the last.  Codes
 * that stay inside have no page; several errors share one. */
static enum err with_code(int e, struct str error_code)
{
	while (e < ERR_COUNT &&
	       (e == ERR_DB_CONFLICT || e == ERR_DB_DUPLICATE ||
	        !str_eq(str_from(err_code((enum err)e)), error_code)))
		e++;
	return (enum err)e;
}

bool problem_explain(struct buf *out, struct str error_code)
{
	enum err e = with_code(1, error_code);

	if (e == ERR_COUNT)
		return false;
	buf_printf(out, "{\"type\":\"/problems/%s\",\"title\":", err_code(e));
	json_add_str(out, str_from(err_title(e)));
	buf_printf(out, ",\"status\":%u,\"retry\":%s", err_http(e),
	           err_may_retry(e) ? "true" : "false");
	member(out, "error_code", error_code);
	buf_str(out, STR(",\"causes\":["));
	for (enum err each = e; each < ERR_COUNT;
	     each = with_code((int)each + 1, error_code)) {
		if (each != e)
			buf_char(out, ',');
		json_add_str(out, str_from(err_text(each)));
	}
	buf_str(out, STR("]}"));
	return true;
}

bool problem_page(struct buf *out, struct str error_code)
{
	enum err e = with_code(1, error_code);

	if (e == ERR_COUNT)
		return false;
	page_begin(out, str_from(err_title(e)));
	buf_printf(out,
	           "<p>Answers with <code>%s</code> have the status %u.</p>\n"
	           "<ul>\n",
	           err_code(e), err_http(e));
	for (enum err each = e; each < ERR_COUNT;
	     each = with_code((int)each + 1, error_code)) {
		buf_str(out, STR("<li>"));
		page_text(out, str_from(err_text(each)));
		buf_str(out, STR("</li>\n"));
	}
	buf_str(out, STR("</ul>\n<p>"));
	buf_str(out,
	        err_may_retry(e)
	                ? STR("The same request may succeed later; the "
	                      "answer says when in "
	                      "<code>Retry-After</code>, if that is known.")
	                : STR("The same request will have the same "
	                      "answer: something in it must change."));
	buf_str(out, STR("</p>\n<p><a href=\"/docs\">The API</a></p>\n"));
	page_end(out);
	return true;
}
