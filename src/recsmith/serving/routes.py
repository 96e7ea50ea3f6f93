"""The table of the API: routing, access, OpenAPI, the client's test and the table in the guide are all made from it."""

from __future__ import annotations

from recsmith.serving import bodies, experiment_bodies, health_bodies, list_bodies, refit_bodies
from recsmith.serving.calls import Route
from recsmith.serving.experiments.definition import Definition
from recsmith.serving.handlers import catalogue, events, evidence, experiments, lists, operations, people, refit, search, slates
from recsmith.serving.streaming import NDJSON

ROUTES: tuple[Route, ...] = (
    Route("GET", "/health/live", operations.live, None, health_bodies.LiveAnswer),
    Route("GET", "/health/ready", operations.ready, None, health_bodies.ReadyAnswer),
    Route("GET", "/openapi.json", operations.openapi, None, None),
    Route("GET", "/metrics", operations.metrics, "reader", None, media="text/plain"),
    Route("GET", "/recommend/{user_id}", lists.recommend, "reader", bodies.ListAnswer, query=bodies.RecommendQuery),
    Route("POST", "/recommend", lists.recommend_session, "reader", bodies.ListAnswer, body=bodies.SessionBody),
    Route(
        "GET", "/recommend/{user_id}/why/{item_id}", lists.why, "reader", bodies.WhyAnswer, query=bodies.CountQuery, refusals=("not-found",)
    ),
    Route(
        "GET",
        "/recommend/{user_id}/evidence/{item_id}",
        evidence.explain,
        "reader",
        list_bodies.EvidenceAnswer,
        query=list_bodies.ExplainQuery,
        refusals=("not-found", "conflict"),
    ),
    Route(
        "POST",
        "/evidence",
        evidence.explain_session,
        "reader",
        list_bodies.EvidenceAnswer,
        body=list_bodies.ExplainBody,
        refusals=("not-found", "conflict"),
    ),
    Route(
        "GET", "/slates/{user_id}", slates.slate, "reader", list_bodies.SlateAnswer, query=list_bodies.SlateQuery, refusals=("conflict",)
    ),
    Route(
        "GET",
        "/slates/{user_id}/stream",
        slates.stream_slate,
        "reader",
        None,
        query=list_bodies.SlateQuery,
        refusals=("conflict",),
        media=NDJSON,
    ),
    Route("POST", "/slates", slates.slate_session, "reader", list_bodies.SlateAnswer, body=list_bodies.SlateBody, refusals=("conflict",)),
    Route("GET", "/search", search.search, "reader", list_bodies.SearchAnswer, query=list_bodies.SearchQuery, refusals=("conflict",)),
    Route("POST", "/search", search.search_where, "reader", list_bodies.SearchAnswer, body=list_bodies.SearchBody, refusals=("conflict",)),
    Route("GET", "/similar/{item_id}", lists.similar, "reader", bodies.ListAnswer, query=bodies.ListQuery, refusals=("not-found",)),
    Route("GET", "/popular", lists.popular, "reader", bodies.PopularAnswer, query=bodies.CountQuery),
    Route("GET", "/trending", lists.trending, "reader", bodies.PopularAnswer, query=bodies.CountQuery),
    Route("GET", "/lists/{list_id}", lists.shown_list, "reader", bodies.ShownList, refusals=("not-found",)),
    Route("POST", "/events", events.add_event, "writer", bodies.EventsAnswer, body=bodies.EventBody),
    Route("POST", "/events/batch", events.add_events, "writer", bodies.EventsAnswer, body=bodies.EventsBody),
    Route("GET", "/events", events.feed, "admin", bodies.FeedAnswer, query=bodies.PageQuery),
    Route("GET", "/items", catalogue.list_items, "reader", bodies.ItemsAnswer, query=bodies.NamePageQuery),
    Route("POST", "/items", catalogue.put_items, "writer", bodies.WrittenAnswer, body=bodies.ItemsBody),
    Route("GET", "/items/{item_id}", catalogue.get_item, "reader", bodies.ItemAnswer, refusals=("not-found",)),
    Route("PUT", "/items/{item_id}", catalogue.put_item, "writer", bodies.ItemAnswer, body=bodies.ItemFields),
    Route("DELETE", "/items/{item_id}", catalogue.delete_item, "writer", bodies.ItemAnswer, refusals=("not-found",)),
    Route("GET", "/users", people.list_users, "reader", bodies.UsersAnswer, query=bodies.NamePageQuery),
    Route("POST", "/users", people.put_users, "writer", bodies.WrittenAnswer, body=bodies.UsersBody),
    Route("GET", "/users/{user_id}", people.get_user, "reader", bodies.UserAnswer, refusals=("not-found",)),
    Route("PUT", "/users/{user_id}", people.put_user, "writer", bodies.UserAnswer, body=bodies.UserFields),
    Route("GET", "/users/{user_id}/history", people.user_history, "reader", bodies.HistoryAnswer),
    Route("GET", "/users/{user_id}/export", people.export_user, "admin", bodies.ExportAnswer),
    Route("DELETE", "/users/{user_id}", people.forget_user, "admin", bodies.ForgottenAnswer),
    Route("GET", "/rules", operations.get_rules, "reader", bodies.RulesAnswer),
    Route("PUT", "/rules", operations.put_rules, "admin", bodies.RulesAnswer, body=bodies.RulesBody),
    Route("GET", "/models", operations.list_models, "reader", bodies.ModelsAnswer),
    Route("POST", "/models/{model}/activate", operations.activate_model, "admin", bodies.ActiveAnswer, refusals=("not-found", "conflict")),
    Route("POST", "/models/rollback", operations.rollback_model, "admin", bodies.ActiveAnswer, refusals=("conflict",)),
    Route("GET", "/models/guard", experiments.guard, "reader", experiment_bodies.GuardAnswer),
    Route("GET", "/experiments", experiments.list_experiments, "reader", experiment_bodies.ExperimentsAnswer),
    Route(
        "POST",
        "/experiments",
        experiments.create_experiment,
        "admin",
        experiment_bodies.ExperimentAnswer,
        body=Definition,
        refusals=("conflict",),
    ),
    Route(
        "GET",
        "/experiments/{experiment}",
        experiments.get_experiment,
        "reader",
        experiment_bodies.ExperimentAnswer,
        refusals=("not-found",),
    ),
    Route(
        "POST",
        "/experiments/{experiment}/stop",
        experiments.stop_experiment,
        "admin",
        experiment_bodies.ExperimentAnswer,
        refusals=("not-found",),
    ),
    Route(
        "GET",
        "/experiments/{experiment}/results",
        experiments.experiment_results,
        "reader",
        experiment_bodies.ResultsAnswer,
        query=experiment_bodies.ResultsQuery,
        refusals=("not-found",),
    ),
    Route(
        "POST",
        "/estimates",
        experiments.estimate,
        "admin",
        experiment_bodies.EstimateAnswer,
        body=experiment_bodies.EstimateBody,
        refusals=("conflict",),
    ),
    Route("GET", "/refit", refit.refit_status, "reader", refit_bodies.RefitAnswer),
    Route("POST", "/refit", refit.start_refit, "admin", refit_bodies.RefitAnswer, body=refit_bodies.RefitBody, refusals=("conflict",)),
    Route("GET", "/keys", operations.list_keys, "admin", bodies.KeysAnswer),
    Route("POST", "/keys", operations.create_key, "admin", bodies.NewKeyAnswer, body=bodies.KeyBody),
    Route("DELETE", "/keys/{key_id}", operations.revoke_key, "admin", bodies.KeysAnswer, refusals=("not-found",)),
    Route("GET", "/audit", operations.audit, "admin", bodies.AuditAnswer, query=bodies.PageQuery),
)


def access_table() -> str:
    """Who may do what, as a table in Markdown: the one in the guide."""
    lines = ["| request | what it does | needs |", "|---|---|---|"]
    lines += [f"| `{route.method} {route.path}` | {route.summary.rstrip('.')} | {route.role or 'no key'} |" for route in ROUTES]
    return "\n".join(lines)
