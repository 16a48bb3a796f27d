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

/* The file's text, after making it in development. */
static enum err seal_text(const struct settings *s, const char *path,
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

enum err kek_load(const struct settings *s, struct seal_key *out)
{
	char path[SECRET_PATH_MAX], text[SECRET_FILE_MAX];
	struct str given = s->key_encryption_key;
	size_t n = 0;
	enum err e;

	if (given.n) {
		if (given.n < 32)
			return unusable(
				"KEY_ENCRYPTION_KEY needs at least 32 characters");
		seal_key_from_text(given, out);
		return OK;
	}
	if (!secret_path(s->data_dir, KEK_FILE, path))
		return ERR_INVALID;
	e = seal_text(s, path, text, &n);
	if (!e && n < 32)
		e = unusable("key_encryption.key in DATA_DIR is too short");
	if (!e)
		seal_key_from_text((struct str){text, n}, out);
	explicit_bzero(text, sizeof(text));
	return e;
}
