#include "common/service/service_inner.h"

static void on_item(void *arg, struct bus_item *it)
{
	struct service *sv = arg;

	dispatch_item(sv->dispatch,
	              &(struct dispatch_item){.item = it,
	                                      .bytes = bus_item_bytes(it),
	                                      .deadline_ms =
	                                              bus_item_deadline_ms(it),
	                                      .peer = bus_item_peer(it)});
}

bool service_at_once(void *service, const struct entry_near *near)
{
	const struct service *sv = service;

	return dispatch_at_once(sv->dispatch, near);
}

static void item_end(void *item, struct str bytes)
{
	bus_item_end(item, bytes);
}

static void item_refuse(void *item, enum err e)
{
	bus_item_refuse(item, e);
}

static enum err item_part(void *item, struct str bytes)
{
	return bus_item_part(item, bytes);
}

static bool item_cancelled(void *item)
{
	return bus_item_cancelled(item);
}

enum err service_make_dispatch(struct service *sv)
{
	struct dispatch_conf conf = {.service = sv->def->name,
	                             .self = sv->def->self,
	                             .methods = sv->def->methods,
	                             .methods_n = sv->def->methods_n,
	                             .lanes = {[LANE_DB] = sv->lanes[LANE_DB],
	                                       [LANE_SLOW] =
	                                               sv->lanes[LANE_SLOW]},
	                             .figures = sv->env.figures,
	                             .idem = sv->idem,
	                             .erased = sv->erased,
	                             .events = sv->def->events,
	                             .builtin_arg = sv,
	                             .end = item_end,
	                             .refuse = item_refuse,
	                             .cancelled = item_cancelled,
	                             .part = item_part};

	service_builtins(sv, conf.builtin);
	sv->dispatch = dispatch_new(&conf);
	return sv->dispatch ? OK : ERR_NOMEM;
}

enum err service_make_server(struct service *sv)
{
	const struct bus_server_conf conf = {.self = sv->def->self,
	                                     .keys = sv->env.keys,
	                                     .on_item = on_item,
	                                     .arg = sv};

	sv->server = bus_server_new(&conf);
	if (!sv->server)
		return ERR_NOMEM;
	return bus_server_listen(sv->server, str_from(sv->env.listen));
}
