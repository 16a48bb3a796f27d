#include "svc-content/offline/kind.h"

static const struct {
	const char *words, *use[2];
} kinds[KIND_COUNT] = {
#define KIND(id, words, use1, use2) {words, {use1, use2}},
#include "svc-content/offline/kind.def"
#undef KIND
};

/* Nearest first where one stands under another: the order is the priority. */
static const struct {
	const char *lemma;
	unsigned lex, id;
	enum kind kind;
} anchors[] = {
	{"programming_language", WN_LEX_COMMUNICATION, 0, KIND_CODE},
	{"mathematics", WN_LEX_COGNITION, 0, KIND_MATH},
	{"mathematical_relation", WN_LEX_RELATION, 0, KIND_MATH},
	{"mathematical_statement", WN_LEX_COMMUNICATION, 0, KIND_MATH},
	{"number", WN_LEX_QUANTITY, 0, KIND_MATH},
	{"figure", WN_LEX_SHAPE, 0, KIND_MATH},
	{"algorithm", WN_LEX_COGNITION, 0, KIND_MATH},
	{"natural_language", WN_LEX_COMMUNICATION, 0, KIND_LANGUAGE},
	{"computer_science", WN_LEX_COGNITION, 0, KIND_FIELD},
	{"discipline", WN_LEX_COGNITION, 0, KIND_FIELD},
	{"disease", WN_LEX_STATE, 0, KIND_HEALTH},
	{"illness", WN_LEX_STATE, 0, KIND_HEALTH},
	{"disorder", WN_LEX_STATE, 3, KIND_HEALTH},
	{"injury", WN_LEX_STATE, 0, KIND_HEALTH},
	{"war", WN_LEX_ACT, 0, KIND_EVENT},
	{"battle", WN_LEX_ACT, 0, KIND_EVENT},
	{"revolution", WN_LEX_ACT, 0, KIND_EVENT},
	{"music", WN_LEX_COMMUNICATION, 0, KIND_ART},
	{"musical_instrument", WN_LEX_ARTIFACT, 0, KIND_THING},
	{"artistic_movement", WN_LEX_GROUP, 0, KIND_ART},
	{"rhetorical_device", WN_LEX_COMMUNICATION, 0, KIND_ART},
	{"dance", WN_LEX_COMMUNICATION, 0, KIND_ART},
	{"dancing", WN_LEX_ACT, 0, KIND_ART},
	{"art", WN_LEX_ARTIFACT, 0, KIND_ART},
	{"literary_composition", WN_LEX_COMMUNICATION, 0, KIND_ART},
	{"literature", WN_LEX_COMMUNICATION, 0, KIND_ART},
	{"writing_style", WN_LEX_COMMUNICATION, 0, KIND_ART},
	{"show", WN_LEX_COMMUNICATION, 0, KIND_ART},
	{"political_system", WN_LEX_GROUP, 0, KIND_SOCIETY},
	{"government", WN_LEX_GROUP, 0, KIND_SOCIETY},
	{"financial_institution", WN_LEX_GROUP, 0, KIND_ANY},
	{"social_group", WN_LEX_GROUP, 0, KIND_SOCIETY},
	{"social_organization", WN_LEX_GROUP, 0, KIND_SOCIETY},
	{"people", WN_LEX_GROUP, 0, KIND_SOCIETY},
	{"written_agreement", WN_LEX_COMMUNICATION, 0, KIND_SOCIETY},
	{"vote", WN_LEX_ACT, 1, KIND_SOCIETY},
	{"social_process", WN_LEX_PROCESS, 0, KIND_ANY},
	{"economic_process", WN_LEX_PROCESS, 0, KIND_ANY},
	{"immunization", WN_LEX_ACT, 0, KIND_ANY},
	{"workplace", WN_LEX_ARTIFACT, 0, KIND_ANY},
	{"law", WN_LEX_GROUP, 0, KIND_SOCIETY},
	{"economy", WN_LEX_GROUP, 0, KIND_SOCIETY},
	{"religion", WN_LEX_COGNITION, 0, KIND_SOCIETY},
	{"deity", WN_LEX_PERSON, 0, KIND_IDEA},
	{"living_thing", WN_LEX_TOPS, 0, KIND_LIVING},
	{"chemical_element", WN_LEX_SUBSTANCE, 0, KIND_SUBSTANCE},
	{"food", WN_LEX_FOOD, 0, KIND_FOOD},
	{"beverage", WN_LEX_FOOD, 0, KIND_FOOD},
	{"celestial_body", WN_LEX_OBJECT, 0, KIND_OBJECT},
	{"continent", WN_LEX_OBJECT, 0, KIND_PLACE},
	{"tract", WN_LEX_LOCATION, 0, KIND_OBJECT},
	{"natural_phenomenon", WN_LEX_PHENOMENON, 0, KIND_PHENOMENON},
	{"wave", WN_LEX_EVENT, 0, KIND_PHENOMENON},
	{"commerce", WN_LEX_ACT, 0, KIND_SOCIETY},
	{"machine", WN_LEX_ARTIFACT, 0, KIND_TECH},
	{"equipment", WN_LEX_ARTIFACT, 0, KIND_TECH},
	{"device", WN_LEX_ARTIFACT, 0, KIND_TECH},
	{"vehicle", WN_LEX_ARTIFACT, 0, KIND_TECH},
	{"computer_network", WN_LEX_ARTIFACT, 0, KIND_TECH},
	{"technology", WN_LEX_ACT, 0, KIND_TECH},
	{"software", WN_LEX_COMMUNICATION, 0, KIND_TECH},
};

static const enum kind by_lex[] = {
	[WN_LEX_TOPS] = KIND_IDEA,
	[WN_LEX_ACT] = KIND_ACTIVITY,
	[WN_LEX_ANIMAL] = KIND_LIVING,
	[WN_LEX_ARTIFACT] = KIND_THING,
	[WN_LEX_ATTRIBUTE] = KIND_IDEA,
	[WN_LEX_BODY] = KIND_BODY,
	[WN_LEX_COGNITION] = KIND_IDEA,
	[WN_LEX_COMMUNICATION] = KIND_IDEA,
	[WN_LEX_EVENT] = KIND_EVENT,
	[WN_LEX_FEELING] = KIND_IDEA,
	[WN_LEX_FOOD] = KIND_FOOD,
	[WN_LEX_GROUP] = KIND_ANY,
	[WN_LEX_LOCATION] = KIND_PLACE,
	[WN_LEX_MOTIVE] = KIND_IDEA,
	[WN_LEX_OBJECT] = KIND_OBJECT,
	[WN_LEX_PERSON] = KIND_PERSON,
	[WN_LEX_PHENOMENON] = KIND_PHENOMENON,
	[WN_LEX_PLANT] = KIND_LIVING,
	[WN_LEX_POSSESSION] = KIND_ANY,
	[WN_LEX_PROCESS] = KIND_PROCESS,
	[WN_LEX_QUANTITY] = KIND_IDEA,
	[WN_LEX_RELATION] = KIND_IDEA,
	[WN_LEX_SHAPE] = KIND_IDEA,
	[WN_LEX_STATE] = KIND_IDEA,
	[WN_LEX_SUBSTANCE] = KIND_SUBSTANCE,
	[WN_LEX_TIME] = KIND_EVENT,
};

const char *kind_words(enum kind k)
{
	return kinds[k].words;
}

const char *kind_use(enum kind k, uint64_t n)
{
	return kinds[k].use[n % COUNTOF(kinds[k].use)];
}

bool kind_sense(const struct wordnet *wn, struct str lemma, unsigned lex,
                unsigned id, struct wn_synset *out)
{
	struct wn_senses senses;

	if (!wordnet_lookup(wn, WN_NOUN, lemma, &senses))
		return false;
	for (size_t i = 0; i < senses.n; i++) {
		struct wn_synset s;
		struct str word;
		unsigned word_id;

		if (!wordnet_synset(wn, senses.v[i], &s) || s.lex_file != lex)
			continue;
		for (unsigned k = 0; wn_word(&s, k, &word, &word_id); k++)
			if (word_id == id && str_ieq(word, lemma)) {
				*out = s;
				return true;
			}
	}
	return false;
}

/* A term of these is taught as they are, whatever it is a kind of. */
static const struct {
	const char *lemma;
	unsigned lex, id;
	enum kind kind;
} fields[] = {
	{"mathematics", WN_LEX_COGNITION, 0, KIND_MATH},
	{"law", WN_LEX_COGNITION, 0, KIND_SOCIETY},
	{"law", WN_LEX_GROUP, 0, KIND_SOCIETY},
};

static bool in_field(const struct wordnet *wn, const struct wn_synset *s,
                     enum kind *out)
{
	for (size_t i = 0; i < COUNTOF(fields); i++) {
		struct wn_synset field;

		if (!kind_sense(wn, str_from(fields[i].lemma), fields[i].lex,
		                fields[i].id, &field))
			continue;
		*out = fields[i].kind;
		for (struct wn_links l = wn_links(s); wn_next(&l);)
			if (l.rel == WN_IN_DOMAIN &&
			    wordnet_under(wn, l.to, field.ref))
				return true;
	}
	return false;
}

enum kind kind_of(const struct wordnet *wn, const struct wn_synset *s)
{
	struct wn_ref up[WN_ANCESTORS_MAX];
	size_t n = wordnet_ancestors(wn, s->ref, up);
	enum kind field;

	/* A judge is still a person. */
	if (s->lex_file != WN_LEX_PERSON && in_field(wn, s, &field))
		return field;
	for (size_t i = 0; i < COUNTOF(anchors); i++) {
		struct wn_synset a;

		if (!kind_sense(wn, str_from(anchors[i].lemma), anchors[i].lex,
		                anchors[i].id, &a))
			continue;
		/* A person is a living thing, but is not taught as one. */
		if (anchors[i].kind == KIND_LIVING &&
		    s->lex_file == WN_LEX_PERSON)
			continue;
		for (size_t k = 0; k < n; k++)
			if (wn_same(up[k], a.ref))
				return anchors[i].kind;
	}
	return s->lex_file < COUNTOF(by_lex) ? by_lex[s->lex_file] : KIND_ANY;
}
