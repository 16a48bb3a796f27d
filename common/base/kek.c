#include "common/base/kek.h"

#include "common/base/b64.h"
#include "common/base/log.h"
#include "common/base/secret_file.h"

#define KEK_FILE "key_encryption.key"

static enum err unusable(const char *hint)
{
	log_error(NULL, "key_encryption_key.unusable", LOG_TEXT("hint", hint));
	return ERR_INVALID;
}

/* --- a list of keys ------------------------------------------------------- */

static void make(struct str text, struct kek *out)
{
	struct seal_key hash;

	seal_key_from_text(text, &out->key);
	seal_key_for(&out->key, "kae-kek-id", &hash);
	(void)hex(hash.k, KEK_ID / 2, out->id);
}

static const char *add(struct kek_ring *r, struct str text)
{
	struct kek *k = &r->kek[r->n];

	if (text.n < KEK_TEXT_MIN)
		return "each key needs at least 32 characters; a comma "
		       "separates keys";
	if (r->n == KEK_MAX)
		return "at most 16 keys";
	make(text, k);
	if (kek_find(r, str_from(k->id)))
		return "a key is there twice";
	r->n++;
	return NULL;
}

const char *kek_parse(struct str text, struct kek_ring *out)
{
	AUTO_KEK_RING ring = {0};
	struct str rest = text;
	const char *wrong;

	seal_key_from_text(text, &ring.whole);
	do
		wrong = add(&ring, str_trim(str_cut(&rest, ',')));
	while (!wrong && rest.n);
	/* str_cut() does not tell an end from a comma at the end. */
	if (!wrong && text.p[text.n - 1] == ',')
		wrong = "there is a comma without a key behind it";
	if (!wrong)
		*out = ring;
	return wrong;
}

const struct kek *kek_find(const struct kek_ring *r, struct str id)
{
	for (size_t i = 0; i < r->n; i++)
		if (str_eq(str_from(r->kek[i].id), id))
			return &r->kek[i];
	return NULL;
}

/* --- where they come from ------------------------------------------------- */

/* The file's text, after making it in development. */
static enum err file_text(const struct settings *s, const char *path,
                          char text[SECRET_FILE_MAX], size_t *n)
{
	enum err e = secret_file_read(path, text, n);
	unsigned char raw[32];
	char fresh[B64_LEN(sizeof(raw)) + 1];

	if (e != ERR_NOT_FOUND)
		return e;
	if (s->env != ENV_DEVELOPMENT)
		return unusable(
			"KEY_ENCRYPTION_KEY is required outside development: at least 32 characters, kept as long as the database");
	randombytes_buf(raw, sizeof(raw));
	e = secret_file_create(path, b64url(raw, sizeof(raw), fresh));
	explicit_bzero(raw, sizeof(raw));
	explicit_bzero(fresh, sizeof(fresh));
	if (e && e != ERR_EXISTS)
		return e;
	return secret_file_read(path, text, n);
}

static enum err take(struct str text, const char *from, struct kek_ring *out)
{
	const char *wrong = kek_parse(text, out);

	if (!wrong)
		return OK;
	log_error(NULL, "key_encryption_key.unusable", LOG_TEXT("from", from),
	          LOG_TEXT("hint", wrong));
	return ERR_INVALID;
}

enum err kek_load(const struct settings *s, struct kek_ring *out)
{
	char path[SECRET_PATH_MAX], text[SECRET_FILE_MAX];
	size_t n = 0;
	enum err e;

	if (s->key_encryption_key.n)
		return take(s->key_encryption_key, "KEY_ENCRYPTION_KEY", out);
	if (!secret_path(s->data_dir, KEK_FILE, path))
		return ERR_INVALID;
	e = file_text(s, path, text, &n);
	if (!e)
		e = take((struct str){text, n}, KEK_FILE " in DATA_DIR", out);
	explicit_bzero(text, sizeof(text));
	return e;
}
