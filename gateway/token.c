#include "gateway/token.h"

bool token_has(char c)
{
	static const bool token[256] = {
		['0' ... '9'] = true, ['A' ... 'Z'] = true,
		['a' ... 'z'] = true, ['!'] = true,
		['#'] = true,         ['$'] = true,
		['%'] = true,         ['&'] = true,
		['\''] = true,        ['*'] = true,
		['+'] = true,         ['-'] = true,
		['.'] = true,         ['^'] = true,
		['_'] = true,         ['`'] = true,
		['|'] = true,         ['~'] = true,
	};

	return token[(unsigned char)c];
}

bool token_is(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!token_has(s.p[i]))
			return false;
	return s.n > 0;
}
