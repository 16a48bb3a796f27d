#include "gateway/pages.h"
#include "local/openapi.h"
#include "local/yaml.h"

void openapi_write(FILE *f)
{
	json_t *document =
		json_loadb(pages_openapi.p, pages_openapi.n, 0, NULL);

	(void)fputs("# Made by `make docs` from gateway/routes.def, the "
	            "methods.def of the services,\n"
	            "# common/base/err.def and local/operations.json.\n",
	            f);
	yaml_write(f, document);
	json_decref(document);
}
