#include "gateway/weight.h"

/* "1", "0.8", "0.857"; -1 when it is no weight. */
static int weight(struct str s)
{
	int v = 0, unit = WEIGHT_ONE;

	s = str_trim(s);
	if (s.n == 0 || s.n > 5 || (s.n > 1 && s.p[1] != '.'))
		return -1;
	for (size_t i = 0; i < s.n; i++) {
		if (i == 1)
			continue; /* the point */
		if (s.p[i] < '0' || s.p[i] > '9')
			return -1;
		v += (s.p[i] - '0') * unit;
		unit /= 10;
	}
	return v <= WEIGHT_ONE ? v : -1;
}

int weight_of(struct str parameters)
{
	while (parameters.n) {
		struct str value = str_cut(&parameters, ';');
		struct str name = str_trim(str_cut(&value, '='));

		if (str_ieq(name, STR("q")))
			return weight(value);
	}
	return WEIGHT_ONE;
}
