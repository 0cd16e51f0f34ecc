// What the form of an account asks for: the fields that a person has, and where each is found.

const TOTP = {
  key: 'totp_secret',
  label: 'Authenticator’s secret',
  optional: true,
  secret: true,
  hint: 'Only if the account asks for codes of an authenticator app and nobody should be asked for them: the letters and digits that were shown when the app was set up.',
};

/** How an AWS account logs in. A group's fields are shown and sent when it is chosen. */
const KEYS = [
  { key: 'access_key_id', label: 'Access key’s id', hint: 'From the IAM console: the user, then “Security credentials”. It begins with `AKIA`.' },
  { key: 'secret_access_key', label: 'Secret access key', secret: true, hint: 'Shown once, when the key is made.' },
  { key: 'session_token', label: 'Session token', optional: true, secret: true, hint: 'Of temporary keys only.' },
];
const CERTIFICATE = [
  { key: 'thing', label: 'Thing', hint: 'The name of the thing in AWS IoT.' },
  { key: 'certificate', label: 'Certificate', secret: true, lines: 4, hint: 'The text of `…certificate.pem.crt`, which AWS IoT gave with the thing.' },
  { key: 'private_key', label: 'Private key', secret: true, lines: 4, hint: 'The text of `…private.pem.key`, which came with it.' },
  { key: 'role_alias', label: 'Role alias', hint: 'AWS IoT console: “Security”, then “Role aliases”.' },
  { key: 'credentials_endpoint', label: 'Credentials endpoint', hint: 'What `aws iot describe-endpoint --endpoint-type iot:CredentialProvider` answers.' },
];

export const VENDORS = {
  wyze: {
    name: 'Wyze',
    about: 'Video Doorbell, Doorbell Pro, Duo Cam and cameras in the Wyze app',
    where: 'Wyze',
    fields: [
      { key: 'email', label: 'E-mail', type: 'email', hint: 'With which you log in to the Wyze app.' },
      { key: 'password', label: 'Password', secret: true, hint: 'Of the Wyze app. Only a hash of it is kept.' },
      { key: 'key_id', label: 'Key ID', secret: true, hint: 'Wyze’s developer console, `developer-api-console.wyze.com`: log in with the same account and choose “Create an API key”.' },
      { key: 'api_key', label: 'API key', secret: true, hint: 'Shown beside the key ID, once, when the key is made. It is good for a year.' },
      TOTP,
    ],
  },
  vivint: {
    name: 'Vivint',
    about: 'Doorbell Camera Pro, cameras, locks and garage doors in the Vivint app',
    where: 'Vivint',
    fields: [
      { key: 'username', label: 'User name', hint: 'The e-mail address or name with which you log in to the Vivint app.' },
      { key: 'password', label: 'Password', secret: true, hint: 'Of the Vivint app. It is forgotten here as soon as you are logged in.' },
      {
        key: 'firebase_api_key',
        label: 'Firebase API key',
        optional: true,
        secret: true,
        hint: 'To talk through the doorbell: 39 characters that begin with `AIza`, in the package of Vivint’s app (`google_api_key`). Everything else works without.',
      },
      TOTP,
    ],
  },
  kvs: {
    name: 'AWS Kinesis Video Streams',
    about: 'Doorbells that you run yourself on an AWS account',
    where: 'AWS',
    fields: [
      { key: 'region', label: 'Region', hint: 'Of the signaling channels, such as `eu-central-1`: it stands in the console’s address.' },
      { key: 'channels', label: 'Channels', list: true, optional: true, hint: 'Names of signaling channels (one a doorbell), with commas between them. Left empty: every channel that the account may list.' },
    ],
    groups: [
      { name: 'Access key', fields: KEYS },
      { name: 'Certificate of a thing', fields: CERTIFICATE },
    ],
  },
};
