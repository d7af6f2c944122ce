from __future__ import annotations

import pytest

from contracts.secrets import refuse_credentials


@pytest.mark.parametrize("address", ["s3://AKIA:s3cret@bucket/shop", "S3://s3cret@bucket", "http://a:s3cret@host/x"])
def test_addresses_with_credentials_are_refused_and_not_shown(address: str) -> None:
    with pytest.raises(ValueError, match="registry holds credentials") as caught:
        refuse_credentials({"registry": address})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("address", ["s3://bucket/pictures/a@2x.png", "s3://bucket/a?key=1", "http://host:80/x"])
def test_addresses_without_credentials_are_taken(address: str) -> None:
    refuse_credentials({"registry": address})
