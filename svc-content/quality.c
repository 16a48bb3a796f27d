#include "svc-content/quality.h"

#include "common/base/utf8.h"
#include "svc-content/text.h"

/* A model that speaks about itself has not explained anything. */
static const char *const refusals[] = {
	"as an ai",
	"as a language model",
	"i'm sorry",
	"i apologize",
	"i cannot",
	"i can't",
	"my knowledge cutoff",
};
static const char *const fillers[] = {
	"it is important to note", "in today's world", "in conclusion",
	"it goes without saying",  "as we all know",
};

static double clamp(double v)
{
	return v < 0 ? 0 : v > 1 ? 1 : v;
}

static void issue(struct verdict *v, const char *reason)
{
	if (v->issues_n < QUALITY_REASONS_MAX)
		v->issues[v->issues_n++] = reason;
	v->valid = false;
}

static void warning(struct verdict *v, const char *reason)
{
	if (v->warnings_n < QUALITY_REASONS_MAX)
		v->warnings[v->warnings_n++] = reason;
}

static size_t found(struct str s, const char *const *phrases, size_t n)
{
	size_t hits = 0;

	for (size_t i = 0; i < n; i++)
		hits += text_has_word(s, str_from(phrases[i]));
	return hits;
}

/* --- outlines ------------------------------------------------------------------ */

static bool twice(const struct str *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = i + 1; k < n; k++)
			if (str_eq(keys[i], keys[k]))
				return true;
	return false;
}

enum err quality_outline(const struct str *subtopics, size_t n, size_t want,
                         struct arena *a, struct verdict *out)
{
	struct str *keys = arena_alloc(a, (n ? n : 1) * sizeof(*keys));
	bool tiny = false, wordy = false;

	*out = (struct verdict){.valid = true};
	if (!keys)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		enum err e = text_key(a, subtopics[i], &keys[i]);

		if (e == ERR_NOMEM)
			return e;
		if (e) {
			issue(out, "a subtopic is not readable text");
			return OK;
		}
		tiny = tiny || utf8_length(keys[i]) < 3;
		wordy = wordy || text_words(keys[i]) > SUBTOPIC_WORDS_MAX;
	}
	if (n * 10 < want * 7)
		issue(out, "too few subtopics");
	else if (n * 10 < want * 9)
		warning(out, "fewer subtopics than asked for");
	if (twice(keys, n))
		issue(out, "a subtopic stands twice");
	if (tiny)
		issue(out, "a subtopic is shorter than three characters");
	if (wordy)
		warning(out, "a subtopic has more than eight words");
	out->score = clamp(1 - 0.2 * (double)out->issues_n -
	                   0.1 * (double)out->warnings_n);
	out->valid = out->issues_n == 0 && out->score >= 0.6;
	return OK;
}

/* --- lessons ------------------------------------------------------------------- */

/* Share of the subtopic's words that the explanation uses. */
static double relevance(struct str explanation, struct str subtopic)
{
	size_t all = 0, used = 0;
	struct str rest = subtopic, word;

	for (word = text_word(&rest); word.n; word = text_word(&rest)) {
		all++;
		used += text_has(explanation, word);
	}
	/* "C++" and emoji have no words: take them whole. */
	if (all == 0)
		return text_has(explanation, subtopic) ? 1 : 0;
	return (double)used / (double)all;
}

/* Scripts without blanks between words: about two characters are one. */
static size_t dense(struct str s)
{
	size_t at = 0, n = 0;
	uint32_t cp;

	while (utf8_next(s, &at, &cp))
		n += (cp >= 0x3041 && cp <= 0x30ff) ||
		     (cp >= 0x3400 && cp <= 0x9fff) ||
		     (cp >= 0xf900 && cp <= 0xfaff);
	return n / 2;
}

static double length_penalty(size_t words, struct verdict *out)
{
	if (words < 20) {
		issue(out, "fewer than 20 words");
		return 0.5;
	}
	if (words > 500)
		warning(out, "more than 500 words");
	return words < 50 ? 0.2 : words > 300 ? 0.1 : 0;
}

static double sentence_penalty(size_t words, size_t sentences,
                               struct verdict *out)
{
	if (sentences < 2) {
		issue(out, "fewer than two sentences");
		return 0.3;
	}
	return words / sentences < 5 || words / sentences > 40 ? 0.2 : 0;
}

bool quality_refuses(struct str text)
{
	return found(text, refusals, COUNTOF(refusals)) > 0;
}

void quality_lesson(struct str explanation, struct str subtopic,
                    struct verdict *out)
{
	size_t words = text_words(explanation) + dense(explanation);
	size_t filler = found(explanation, fillers, COUNTOF(fillers));
	double share = relevance(explanation, subtopic), score = 1;

	*out = (struct verdict){.valid = true};
	if (quality_refuses(explanation)) {
		out->refusal = true;
		issue(out, "the text refuses instead of explaining");
		return;
	}
	score -= length_penalty(words, out);
	score -= sentence_penalty(words, text_sentences(explanation), out);
	score -= filler > 3 ? 0.3 : 0.1 * (double)filler;
	score += (share - 0.5) * 0.2;
	if (filler > 2)
		warning(out, "the text is padded");
	if (share < 0.2)
		warning(out, "the subtopic is hardly mentioned");
	if (text_has(explanation, STR("\n#")) ||
	    str_starts(explanation, STR("#")))
		warning(out, "the text has headings");
	if (text_has(explanation, STR("```")))
		warning(out, "the text has a code fence");
	out->score = clamp(score);
	if (out->score < 0.5)
		issue(out, "the score is below one half");
}

/* --- questions ------------------------------------------------------------------ */

void quality_question(const struct question *q, struct verdict *out)
{
	*out = (struct verdict){.valid = true, .score = 1};
	if (text_words(q->text) == 0)
		issue(out, "nothing is asked");
	if (q->correct >= OPTIONS_N) {
		issue(out, "no option is correct");
		return;
	}
	for (size_t i = 0; i < OPTIONS_N; i++) {
		if (text_words(q->options[i]) == 0)
			issue(out, "an option is empty");
		for (size_t k = i + 1; k < OPTIONS_N; k++)
			if (str_ieq(q->options[i], q->options[k]))
				issue(out, "two options are the same");
	}
	if (text_words(q->why) == 0)
		issue(out, "the answer is not explained");
	/* A question that holds its answer asks nothing. */
	if (text_has_word(q->text, q->options[q->correct]))
		issue(out, "the question gives the answer away");
	out->score = out->valid ? 1 : 0;
}
