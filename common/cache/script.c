#include "common/cache/script.h"

#include "common/base/b64.h"

#include <openssl/evp.h>

bool script_sha(struct str text, char out[SCRIPT_SHA_MAX])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (EVP_Digest(text.p, text.n, md, &n, EVP_sha1(), NULL) != 1 ||
	    2 * n + 1 != SCRIPT_SHA_MAX)
		return false;
	(void)hex(md, n, out);
	return true;
}
