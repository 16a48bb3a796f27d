/* One event, as administrators see it: as JSON and as a line of CSV. */
#include "svc-content/site/site.h"

#include "common/base/clock.h"
#include "common/codec/mp.h"

#include <inttypes.h>

#define CRLF STR("\r\n")

static const char *const ms_names[] = {"duration_ms", "fcp_ms", "lcp_ms",
                                       "ttfb_ms"};

void site_row_read(const struct db_row *row, struct site_row *out)
{
	*out = (struct site_row){
		.at = db_row_i64(row, 0),
		.type = db_row_str(row, 1),
		.session = db_row_str(row, 2),
		.name = db_row_str(row, 3),
		.message = db_row_str(row, 4),
		.has_status = !db_row_null(row, 9),
		.status = db_row_i64(row, 9),
		.has_rating = !db_row_null(row, 10),
		.rating = db_row_i64(row, 10),
		.failed = db_row_i64(row, 11) != 0,
		.device = db_row_str(row, 12),
		.browser = db_row_str(row, 13),
	};
	for (int i = 0; i < 4; i++) {
		out->has_ms[i] = !db_row_null(row, 5 + i);
		out->ms[i] = db_row_f64(row, 5 + i);
	}
}

static size_t members(const struct site_row *r)
{
	size_t n = 3; /* failed, device, browser */

	for (size_t i = 0; i < COUNTOF(ms_names); i++)
		n += r->has_ms[i];
	return n + (r->name.n > 0) + (r->message.n > 0) + r->has_status +
	       r->has_rating;
}

void site_row_put(struct buf *b, const struct site_row *r)
{
	mp_map(b, 4);
	mp_kv_str(b, "event_type", r->type);
	if (r->session.n)
		mp_kv_str(b, "session_id", r->session);
	else
		mp_kv_nil(b, "session_id");
	mp_kv_time(b, "timestamp", r->at);
	mp_kv_map(b, "data", members(r));
	if (r->name.n)
		mp_kv_str(b, "name", r->name);
	if (r->message.n)
		mp_kv_str(b, "message", r->message);
	for (size_t i = 0; i < COUNTOF(ms_names); i++)
		if (r->has_ms[i])
			mp_kv_f64(b, ms_names[i], site_round(r->ms[i]));
	if (r->has_status)
		mp_kv_i64(b, "status", r->status);
	if (r->has_rating)
		mp_kv_i64(b, "rating", r->rating);
	mp_kv_bool(b, "failed", r->failed);
	mp_kv_str(b, "device", r->device);
	mp_kv_str(b, "browser", r->browser);
}

void site_csv_cell(struct buf *b, struct str text)
{
	char first = text.n ? text.p[0] : ' ';

	buf_char(b, '"');
	if (strchr("=+-@", first) || (unsigned char)first < ' ')
		buf_char(b, '\'');
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '"')
			buf_char(b, '"');
		buf_char(b, text.p[i]);
	}
	buf_char(b, '"');
}

void site_csv_head(struct buf *b)
{
	buf_str(b, STR("timestamp,event_type,session_id,name,message,"
	               "duration_ms,fcp_ms,lcp_ms,ttfb_ms,status,rating,"
	               "failed,device,browser"));
	buf_str(b, CRLF);
}

static void number(struct buf *b, bool has, int64_t v)
{
	buf_char(b, ',');
	if (has)
		buf_printf(b, "%" PRId64, v);
}

void site_csv_row(struct buf *b, const struct site_row *r)
{
	const struct str before[] = {r->type, r->session, r->name, r->message};
	const struct str after[] = {r->device, r->browser};
	char iso[CLOCK_ISO_MAX];

	buf_str(b, clock_iso(r->at, iso));
	for (size_t i = 0; i < COUNTOF(before); i++) {
		buf_char(b, ',');
		site_csv_cell(b, before[i]);
	}
	for (size_t i = 0; i < COUNTOF(ms_names); i++) {
		buf_char(b, ',');
		if (r->has_ms[i])
			buf_printf(b, "%.2f", r->ms[i]);
	}
	number(b, r->has_status, r->status);
	number(b, r->has_rating, r->rating);
	number(b, true, r->failed);
	for (size_t i = 0; i < COUNTOF(after); i++) {
		buf_char(b, ',');
		site_csv_cell(b, after[i]);
	}
	buf_str(b, CRLF);
}
