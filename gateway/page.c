#include "gateway/page.h"

void page_begin(struct buf *out, struct str title)
{
	buf_str(out, STR("<!doctype html>\n<html lang=\"en\">\n<head>\n"
	                 "<meta charset=\"utf-8\">\n"
	                 "<meta name=\"viewport\" "
	                 "content=\"width=device-width\">\n<title>"));
	page_text(out, title);
	buf_str(out, STR(" - KnowAllEdge</title>\n"
	                 "<link rel=\"stylesheet\" href=\"" PAGE_STYLE "\">\n"
	                 "</head>\n<body>\n<main>\n<h1>"));
	page_text(out, title);
	buf_str(out, STR("</h1>\n"));
}

void page_text(struct buf *out, struct str text)
{
	static const struct {
		char c;
		struct str as;
	} special[] = {
		{'&', STR("&amp;")},  {'<', STR("&lt;")},   {'>', STR("&gt;")},
		{'"', STR("&quot;")}, {'\'', STR("&#39;")},
	};

	for (size_t i = 0; i < text.n; i++) {
		size_t s = 0;

		while (s < COUNTOF(special) && special[s].c != text.p[i])
			s++;
		if (s < COUNTOF(special))
			buf_str(out, special[s].as);
		else
			buf_char(out, text.p[i]);
	}
}

void page_end(struct buf *out)
{
	buf_str(out, STR("</main>\n</body>\n</html>\n"));
}
