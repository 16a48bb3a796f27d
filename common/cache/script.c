#include "common/cache/script.h"

#include <openssl/evp.h>

bool script_sha(struct str text, char out[SCRIPT_SHA_MAX])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (EVP_Digest(text.p, text.n, md, &n, EVP_sha1(), NULL) != 1 ||
	    n != 20)
		return false;
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = hex[md[i] >> 4];
		out[2 * i + 1] = hex[md[i] & 15];
	}
	out[SCRIPT_SHA_MAX - 1] = '\0';
	return true;
}
