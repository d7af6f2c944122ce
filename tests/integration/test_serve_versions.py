"""A stage replica refuses messages of other bundles, and the caller knows the error for what it is."""

from __future__ import annotations

import dataclasses

import pytest

from contracts.errors import BundleError
from serving.pipeline import Fallbacks
from tests.fixtures.served_apps import ServedApps
from tests.fixtures.served_bundle import request_batch

pytestmark = pytest.mark.ray


def test_another_version_is_refused_across_processes(served: ServedApps) -> None:
    from ray import serve

    handle = serve.get_deployment_handle("Retrieval", "staged")
    queries = Fallbacks.open(served.bundle, 1).anonymous(request_batch(2)).features
    assert handle.remote("retrieval", queries).result(timeout_s=60).lengths.tolist() == [39, 39]
    other = dataclasses.replace(queries, bundle_version="tiny-2")
    with pytest.raises(BundleError, match="asked for bundle 'tiny-2', this replica serves 'tiny-1'"):
        handle.remote("retrieval", other).result(timeout_s=60)
