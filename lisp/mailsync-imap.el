;;; mailsync-imap.el --- IMAP servers that are watched  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The form (imap KEY VALUE...) of an account's `:remote': what is right in
;; it, how the module wants it, and the password, where Emacs has to know it.
;; What is said to the server, the module decides (src/remote/imap/).
;;
;; A password comes from auth-source, which may ask for a passphrase: that is
;; done in a timer, never in the pipe's filter, and only while somebody is
;; there to answer.  mailsync keeps it no longer than it takes to give it to
;; the module.

;;; Code:

(require 'seq)
(require 'subr-x)
(require 'mailsync-log)
(require 'mailsync-pipe)
(require 'mailsync-syncers)

;;;; Internal variables

(defconst mailsync-imap--keys
  '((:host mailsync-imap--name-p "the name of a server")
    (:port mailsync-imap--port-p "a number from 1 to 65535")
    (:user mailsync-imap--name-p "a user's name")
    (:tls mailsync-imap--tls-p "t, `starttls' or `none'")
    (:tls-fingerprint mailsync-imap--fingerprint-p
                      "\"SHA256:\" and 64 hexadecimal digits, with colons or without")
    (:auth mailsync-imap--auth-p "`plain', `login', `xoauth2' or `oauthbearer'")
    (:secret-command mailsync-syncers--words-p
                     "a list of strings: a program and its arguments")
    (:oauth-command mailsync-syncers--words-p
                    "a list of strings: a program and its arguments")
    (:tunnel mailsync-syncers--words-p
             "a list of strings: a program and its arguments")
    (:folders mailsync-imap--strings-p "a list of folders, or globs with `*'")
    (:idle-folders mailsync-imap--strings-p "a list of folders")
    (:idle-refresh mailsync-imap--refresh-p "a number of seconds up to 1680")
    (:poll mailsync-imap--poll-p "a number of seconds, 10 at least"))
  "The keys of (imap ...): what is right for each, and that in words.")

(defconst mailsync-imap--refresh 540
  "IDLE is begun anew after so many seconds: what stands between may forget.")

(defconst mailsync-imap--poll 300
  "A server that does not tell of its folders is asked after so many seconds.")

(defconst mailsync-imap--away 60
  "Nobody is there who could be asked, if Emacs has been idle for so many seconds.")

(defvar mailsync-imap--resumed nil
  "Alist from accounts that the user has resumed, or nil for all, to when.")

(defvar mailsync-imap-lookup-function #'ignore
  "Function called with an account's name.
It returns how auth-source is asked for the password, a spec of
`auth-source-search', where another program has asked already.")

;;;; Declarations

(defvar epa-suppress-error-buffer)
(defvar epg-pinentry-mode)
(declare-function auth-source-search "auth-source")
(declare-function auth-source-forget+ "auth-source")
(declare-function auth-source-recall "auth-source" (spec))
(declare-function mailsync-module--secret "ext:mailsync-engine")

;;;; The configuration

(defun mailsync-imap--name-p (value)
  "Non-nil if VALUE is a name."
  (and (mailsync-syncers--string-p value) (not (equal value ""))))

(defun mailsync-imap--port-p (value)
  "Non-nil if VALUE is a port."
  (and (natnump value) (< 0 value 65536)))

(defun mailsync-imap--tls-p (value)
  "Non-nil if VALUE says whether and when TLS begins."
  (memq value '(t tls starttls none)))

(defun mailsync-imap--fingerprint-p (value)
  "Non-nil if VALUE is the fingerprint of a certificate."
  (and (stringp value)
       (let ((case-fold-search t))
         (string-match-p "\\`\\(?:SHA256:\\)?\\(?:[0-9A-F][0-9A-F]:?\\)\\{32\\}\\'"
                         value))))

(defun mailsync-imap--auth-p (value)
  "Non-nil if VALUE is a way to log in."
  (memq value '(plain login xoauth2 oauthbearer)))

(defun mailsync-imap--strings-p (value)
  "Non-nil if VALUE is a list of strings."
  (and (proper-list-p value) (seq-every-p #'mailsync-syncers--string-p value)))

(defun mailsync-imap--refresh-p (value)
  "Non-nil if VALUE is a time after which IDLE is begun anew (RFC 2177)."
  (and (numberp value) (<= 10 value 1680)))

(defun mailsync-imap--poll-p (value)
  "Non-nil if VALUE is a time after which a server is asked again."
  (and (numberp value) (<= 10 value 1e9)))

(defun mailsync-imap-fault (plist)
  "What is wrong with PLIST, the keys and values of (imap ...), or nil."
  (if (not (and (proper-list-p plist) (zerop (% (length plist) 2))))
      "(imap ...) has to go on with keys and values in turn"
    (pcase (mailsync-syncers-wrong-key plist mailsync-imap--keys)
      (`(,key . ,(and names (pred stringp)))
       (format "(imap ...) has no key %S; the keys are %s" key names))
      (`(,key ,value ,wanted)
       (format "%S of (imap ...) is %S, but has to be %s" key value wanted))
      (_ (mailsync-imap--contradiction plist)))))

(defun mailsync-imap--contradiction (plist)
  "What of PLIST, all of whose values are right, does not go together, or nil."
  (let ((has (lambda (key) (plist-get plist key))))
    (cond
     ((not (or (funcall has :host) (funcall has :tunnel)))
      "(imap ...) needs :host, or :tunnel")
     ((and (funcall has :tunnel) (funcall has :tls))
      "(imap ...) has :tls and :tunnel; what goes through a tunnel is not \
encrypted again")
     ((and (funcall has :tls-fingerprint)
           (or (funcall has :tunnel) (eq (funcall has :tls) 'none)))
      "(imap ...) has :tls-fingerprint, but nothing is encrypted")
     ((and (funcall has :secret-command) (funcall has :oauth-command))
      "(imap ...) has :secret-command and :oauth-command; one of them is enough")
     ((and (memq (funcall has :auth) '(xoauth2 oauthbearer))
           (not (funcall has :oauth-command)))
      "(imap ...) needs :oauth-command, a program that prints a token")
     ((and (memq (funcall has :auth) '(plain login))
           (funcall has :oauth-command))
      "(imap ...) has :oauth-command, whose token neither plain nor login takes"))))

(defun mailsync-imap-for-module (plist prefix separator)
  "PLIST, the keys and values of (imap ...), as the module wants it.
PREFIX and SEPARATOR are what the account says of names, or nil."
  (let* ((get (lambda (key) (plist-get plist key)))
         (text (lambda (value) (and value (mailsync-pipe-encode-text value))))
         (tls (pcase (if (funcall get :tunnel) 'none (funcall get :tls))
                ('starttls "starttls")
                ('none "none")
                (_ "tls"))))
    (vector (mailsync-syncers--search)
            (mailsync-syncers--environment nil)
            (funcall text (or (funcall get :host) "localhost"))
            (or (funcall get :port) (if (equal tls "tls") 993 143))
            tls
            (funcall text (funcall get :tls-fingerprint))
            (funcall text (mailsync-imap--user plist))
            (and (funcall get :auth) (symbol-name (funcall get :auth)))
            (mailsync-imap--words (funcall get :secret-command))
            (mailsync-imap--words (funcall get :oauth-command))
            (mailsync-imap--words (funcall get :tunnel))
            (funcall text prefix)
            (funcall text separator)
            (and (funcall get :idle-folders)
                 (vconcat (mapcar #'mailsync-pipe-encode-text
                                  (funcall get :idle-folders))))
            (float (or (funcall get :idle-refresh) mailsync-imap--refresh))
            (float (or (funcall get :poll) mailsync-imap--poll)))))

(defun mailsync-imap--user (plist)
  "Who logs in, according to PLIST."
  (or (plist-get plist :user) (user-login-name)))

(defun mailsync-imap--words (words)
  "WORDS, a program and its arguments or nil, as the module wants them."
  (and words
       (vconcat (cons (mailsync-syncers--executable (car words))
                      (mapcar #'mailsync-pipe-encode-text (cdr words))))))

;;;; The password

(defun mailsync-imap-resumed (account)
  "The user has resumed ACCOUNT, or all if it is nil, and may be asked."
  (setf (alist-get account mailsync-imap--resumed nil nil #'equal)
        (float-time)))

(defun mailsync-imap--resumed-p (account)
  "Non-nil if the user has resumed ACCOUNT just now.
That is asked once for each time, except for what resumed all."
  (let ((recent (lambda (key)
                  (when-let* ((time (alist-get key mailsync-imap--resumed
                                               nil nil #'equal)))
                    (< -1 (- (float-time) time) mailsync-imap--away)))))
    (prog1 (or (funcall recent account) (funcall recent nil))
      (setq mailsync-imap--resumed
            (assoc-delete-all account mailsync-imap--resumed)))))

(defun mailsync-imap-wanted (account remote number host port user anew)
  "Give the module the password of USER at HOST and PORT.
It is for the connection NUMBER to the store REMOTE of ACCOUNT.
ANEW means that the last one was refused."
  (let ((secret nil)
        ;; Unless it ends as it should: who is asked may leave that by a throw.
        (reason (format "no password of %s at %s was given" user host)))
    (unwind-protect
        (condition-case err
            (setq secret (mailsync--let-quit #'mailsync-imap--find
                                             account host port user anew)
                  reason nil)
          (quit nil)
          (error
           (setq reason (mailsync-imap--why err host user))))
      (unwind-protect
          (mailsync-module--secret
           remote number secret
           (mailsync-pipe-encode-text
            (or reason
                (format "auth-source has no password of %s at %s, port %s"
                        user host port))))
        (when secret (clear-string secret))))))

(defun mailsync-imap--why (err host user)
  "Why there is no password of USER at HOST, according to ERR."
  (if (mailsync-imap--somebody-p)
      (format "auth-source: %s" (error-message-string err))
    (format "needs the password of %s at %s, and nobody was there to be asked \
(%s)" user host (error-message-string err))))

(defun mailsync-imap--find (account host port user anew)
  "The password of USER at HOST and PORT for ACCOUNT, in bytes, or nil.
ANEW means that the last one was wrong.  The user is asked only
after having resumed what had stopped for want of a password."
  (let ((resumed (mailsync-imap--resumed-p account)))
    (or (mailsync-imap--search
         host port user (funcall mailsync-imap-lookup-function account)
         ;; Of what is not there, too, auth-source remembers that.
         (or anew resumed))
        (and resumed (mailsync-imap--somebody-p)
             (mailsync-imap--bytes
              (read-passwd (format "Password of %s at %s: " user host)))))))

(defun mailsync-imap--search (host port user spec anew)
  "The password of USER at HOST and PORT, in bytes, or nil.
SPEC is how another program has asked auth-source, or nil.  ANEW
means that what auth-source remembers of it is forgotten."
  (require 'auth-source)
  ;; Before it is bound.
  (require 'epg-config)
  (let* ((hosts (cons host (delete host (copy-sequence (plist-get spec :host)))))
         (ports (delete-dups (append (list (number-to-string port) "imaps" "imap")
                                     (plist-get spec :port))))
         (nobody (not (mailsync-imap--somebody-p)))
         (inhibit-interaction nobody)
         ;; GnuPG would ask by a window of its own.
         (epg-pinentry-mode (if nobody 'error epg-pinentry-mode))
         (epa-suppress-error-buffer nobody))
    (when anew
      (dolist (host hosts)
        (auth-source-forget+ :host host)))
    (mailsync-imap--secret-of
     (or (car (auth-source-search :max 1 :host hosts :user user :port ports
                                  :require '(:secret)))
         ;; That somebody has typed.
         (and spec (car (auth-source-recall spec)))))))

(defun mailsync-imap--secret-of (found)
  "The password in FOUND, a result of auth-source, in bytes, or nil."
  (let* ((secret (plist-get found :secret))
         (secret (if (functionp secret) (funcall secret) secret)))
    (and (stringp secret)
         (not (equal secret ""))
         ;; A copy, since ours is wiped.
         (mailsync-imap--bytes (copy-sequence secret)))))

(defun mailsync-imap--bytes (secret)
  "SECRET, a string of our own, as a server wants it, or nil if it is empty.
SECRET itself is wiped, if it is not the value."
  (unless (equal secret "")
    (let ((bytes (encode-coding-string secret 'utf-8 t)))
      (unless (eq bytes secret)
        (clear-string secret))
      bytes)))

(defun mailsync-imap--somebody-p ()
  "Non-nil if somebody can be asked something now."
  (and (not noninteractive)
       (zerop (minibuffer-depth))
       (not executing-kbd-macro)
       (let ((idle (current-idle-time)))
         (or (null idle) (< (float-time idle) mailsync-imap--away)))))

(provide 'mailsync-imap)
;;; mailsync-imap.el ends here
