;;; mailsync-nnimap-test.el --- Servers that Gnus has open are watched  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What is derived from Gnus's own definitions, what is left alone, and when
;; the engine is told.  A real Gnus and a real server are for test/sync.py.

;;; Code:

(require 'mailsync-test-helper)
(require 'mailsync-gnus-nnimap)
(require 'auth-source)
(require 'gnus)
(require 'gnus-int)
(require 'gnus-start)
(require 'nnimap)

;;;; What is covered

(defmacro nnimap-test-with (option accounts servers &rest body)
  "Run BODY with OPTION, ACCOUNTS, and SERVERS that Gnus has open.
SERVERS are an alist from methods to keys of (imap ...)."
  (declare (indent 3))
  `(let* ((mailsync-gnus-watch-nnimap ,option)
          (mailsync-gnus-nnimap--servers ,servers)
          (mailsync-gnus-nnimap--told nil)
          (mailsync-gnus--index nil)
          (mailsync--said nil)
          (mailsync-accounts--valid nil)
          (mailsync-accounts ,accounts)
          (mailsync-accounts-more-function #'mailsync-gnus-nnimap-accounts)
          (process-environment (cons "MAILDIR" process-environment))
          (gnus-newsrc-alist
           (cons nil (mapcar (lambda (server)
                               (list (format "nnimap+%s:INBOX" (nth 1 (car server)))
                                     3 nil nil (car server)))
                             mailsync-gnus-nnimap--servers)))
          (gnus-newsrc-hashtb (make-hash-table :test #'equal))
          (gnus-killed-list nil) (gnus-zombie-list nil))
     (cl-letf (((symbol-function 'message) #'ignore))
       ,@body)))

(defconst nnimap-test-far
  '((nnimap "far" (nnimap-address "imap.example.org"))
    :host "imap.example.org" :port 993 :tls t :user "me" :lookup (:host ("far")))
  "A server elsewhere.")

(defconst nnimap-test-near
  '((nnimap "near" (nnimap-address "localhost"))
    :host "localhost" :port 143 :tls none :user "me")
  "A server on this machine.")

(defconst nnimap-test-piped
  '((nnimap "piped" (nnimap-stream shell))
    :tunnel ("/bin/sh" "-c" "ssh h imap") :host "piped")
  "A server at the other end of a program.")

(ert-deftest nnimap-test-covered ()
  "A server is watched by itself unless an account is there for it."
  (pcase-dolist
      (`(,option ,accounts ,wanted)
       '((t nil ("nnimap:far" "nnimap:near" "nnimap:piped"))
         ;; With a maildir here, what is on this machine serves that.
         (t (("m" :maildir "~/Mail")) ("m" "nnimap:far"))
         (("near") (("m" :maildir "~/Mail"))
          ("m" "nnimap:far" "nnimap:near"))
         ;; By name.
         (t (("w" :remote (watcher "x") :gnus-server "far"))
          ("w" "nnimap:near" "nnimap:piped"))
         (t (("w" :remote (watcher "x") :gnus-server "nnimap:far"))
          ("w" "nnimap:near" "nnimap:piped"))
         (t (("w" :maildir "~/Mail" :gnus-server "nnimap+far")) ("w" "nnimap:near" "nnimap:piped"))
         (t (("w" :remote (watcher "x") :gnus-server "other"))
          ("w" "nnimap:far" "nnimap:near" "nnimap:piped"))
         ;; By the same address, and user if both say who.
         (t (("w" :gnus-server "x" :remote (imap :host "IMAP.example.org")))
          ("w" "nnimap:near" "nnimap:piped"))
         (t (("w" :gnus-server "x" :remote (imap :host "imap.example.org" :user "me" :tls starttls)))
          ("w" "nnimap:near" "nnimap:piped"))
         (t (("w" :gnus-server "x" :remote (imap :host "imap.example.org" :user "you")))
          ("w" "nnimap:far" "nnimap:near" "nnimap:piped"))
         (t (("w" :maildir "~/x" :gnus-server "x"
              :remote ((watcher "y") (imap :host "imap.example.org"))))
          ("w" "nnimap:near" "nnimap:piped"))
         (t (("w" :gnus-server "x" :remote (imap :tunnel ("/bin/sh" "-c" "ssh h imap"))))
          ("w" "nnimap:far" "nnimap:near"))
         ;; It is the only one elsewhere: the account's groups are there.
         (t (("w" :remote (watcher "x"))) ("w" "nnimap:near" "nnimap:piped"))
         (t (("nnimap:far" :maildir "~/x" :gnus-server "x"))
          ("nnimap:far" "nnimap:near" "nnimap:piped"))))
    (ert-info ((format "%S %S" option accounts))
      (nnimap-test-with option accounts
          (list nnimap-test-far nnimap-test-near nnimap-test-piped)
        ;; A maildir elsewhere is nobody's business here.
        (let ((names (mapcar #'car (mailsync-accounts-read))))
          (should (equal names wanted)))))))

(ert-deftest nnimap-test-account ()
  "The account that is made up says how the server is reached, and its name in Gnus."
  (nnimap-test-with t nil (list nnimap-test-far)
    (mailsync-accounts-read)
    (should (equal mailsync-accounts--valid
                   '(("nnimap:far" :remote (imap :host "imap.example.org" :port 993
                                                 :tls t :user "me")
                      :gnus-server "nnimap:far"))))
    (should (equal (mailsync-gnus-nnimap-lookup "nnimap:far") '(:host ("far"))))
    (should-not (mailsync-gnus-nnimap-lookup "far"))
    (let ((store (aref (aref (aref (mailsync-accounts-for-module
                                    mailsync-accounts--valid)
                                   0)
                             5)
                       0)))
      (should (equal (aref store 0) "imap"))
      (should (equal (substring (aref store 4) 2 7)
                     ["imap.example.org" 993 "tls" nil "me"])))))

(ert-deftest nnimap-test-not-watched ()
  "What cannot be watched is no account."
  (nnimap-test-with t nil '(((nnimap "anon") . "who is anonymous"))
    (should-not (mailsync-accounts-read))
    (should-not (mailsync-gnus-nnimap-lookup "nnimap:anon"))))

(ert-deftest nnimap-test-default-account ()
  "Who watches nnimap alone has no maildir that could be missing."
  (let ((process-environment (cons "MAILDIR" process-environment))
        (mailsync-accounts nil)
        (mailsync-accounts--valid nil)
        (mailsync-accounts-more-function #'ignore))
    (pcase-dolist (`(,option . ,names) '((nil "mail") (t) (("a"))))
      (let ((mailsync-gnus-watch-nnimap option))
        (should (equal (mapcar #'car (mailsync-accounts-read)) names))))
    (let ((process-environment (cons "MAILDIR=/tmp/x" process-environment))
          (mailsync-gnus-watch-nnimap t))
      (should (equal (mapcar #'car (mailsync-accounts-read)) '("mail"))))))

;;;; What is wanted

(ert-deftest nnimap-test-wanted ()
  "The option names servers as a user may write them; a mistake is said once."
  (let ((method '(nnimap "work" (nnimap-address "h")))
        (said nil) (mailsync--said nil))
    (cl-letf (((symbol-function 'message)
               (lambda (format &rest args) (push (apply #'format format args) said))))
      (pcase-dolist (`(,option ,wanted)
                     '((nil nil) (t t) (("work") t) (("nnimap:work") t)
                       (("home" "nnimap+work") t) (("home") nil)))
        (let ((mailsync-gnus-watch-nnimap option))
          (should (eq (and (mailsync-gnus-nnimap--wanted-p method) t) wanted))))
      (should-not said)
      (dolist (option '("work" yes (work)))
        (let ((mailsync-gnus-watch-nnimap option))
          (dotimes (_ 2)
            (should-not (mailsync-gnus-nnimap--wanted-p method)))))
      (should (= 3 (length said)))
      (should (string-search "mailsync-gnus-watch-nnimap" (car said))))))

(ert-deftest nnimap-test-open-methods ()
  "Only what is nnimap and open counts, once."
  (let ((work '(nnimap "work" (nnimap-address "h")))
        (mailsync-gnus-watch-nnimap t))
    (cl-letf (((symbol-function 'mailsync-gnus-ready-p) #'always))
      (let ((gnus-opened-servers
             `((,work ok) ((nnimap "work") ok) ((nnimap "down") denied)
               ((nnimap "shut") closed) ((nnimap "away") offline)
               ((nnml "") ok) ((nnimap "home") ok))))
        (should (equal (sort (mapcar #'cadr (mailsync-gnus-nnimap--open-methods))
                             #'string<)
                       '("home" "work")))))
    (cl-letf (((symbol-function 'mailsync-gnus-ready-p) #'ignore))
      (let ((gnus-opened-servers `((,work ok))))
        (should-not (mailsync-gnus-nnimap--open-methods))))))

;;;; How a server is reached

(defmacro nnimap-test-connected (stream port tls &rest body)
  "Run BODY with nnimap connected by STREAM to PORT, with TLS or without.
There `process' is the connection."
  (declare (indent 3))
  `(let* ((nnimap-stream ,stream)
          (nnimap-address "h") (nnimap-server-port nil) (nnimap-user nil)
          (nnimap-authenticator nil)
          (process (make-pipe-process :name "nnimap-test" :noquery t))
          (nntp-server-buffer (current-buffer)))
     (unwind-protect
         (cl-letf (((symbol-function 'nnimap-open-server) #'always)
                   ((symbol-function 'nnimap-find-connection) (lambda (_) process))
                   ((symbol-function 'process-type)
                    (lambda (_) (if (eq nnimap-stream 'shell) 'real 'network)))
                   ((symbol-function 'process-command)
                    (lambda (_) '("/bin/sh" "-c" "ssh h imap")))
                   ((symbol-function 'process-contact)
                    (lambda (_ key) (if (eq key :host) "h" ,port))))
           (with-current-buffer (process-buffer process)
             (setq-local nnimap-object
                         (make-nnimap :stream-type (if ,tls 'tls 'plain))))
           ,@body)
       (kill-buffer (process-buffer process))
       (delete-process process))))

(ert-deftest nnimap-test-way ()
  "The connection that Gnus has says how the server is reached."
  (pcase-dolist
      (`(,stream ,port ,tls . ,wanted)
       '((ssl "imaps" t :host "h" :port 993 :tls t)
         (tls 1993 t :host "h" :port 1993 :tls t)
         (undecided "imaps" t :host "h" :port 993 :tls t)
         (undecided "imap" t :host "h" :port 143 :tls starttls)
         (undecided "imap" nil :host "h" :port 143 :tls none)
         (network "imap" t :host "h" :port 143 :tls starttls)
         (network "1143" nil :host "h" :port 1143 :tls none)
         (starttls "143" t :host "h" :port 143 :tls starttls)
         (plain 143 nil :host "h" :port 143 :tls none)
         (shell nil nil :tunnel ("/bin/sh" "-c" "ssh h imap") :host "h")))
    (ert-info ((format "%S %S" stream port))
      (nnimap-test-connected stream port tls
        (cl-letf (((symbol-function 'gnutls-peer-status) #'ignore))
          (should (equal (mailsync-gnus-nnimap--way process tls) wanted)))))))

(ert-deftest nnimap-test-pin ()
  "A certificate that only the user vouches for is pinned."
  (let ((status (list :certificate
                      (list :pem (concat "-----BEGIN CERTIFICATE-----\n"
                                         (base64-encode-string "not really")
                                         "\n-----END CERTIFICATE-----\n")))))
    (nnimap-test-connected 'ssl "imaps" t
      (cl-letf (((symbol-function 'gnutls-peer-status) (lambda (_) status)))
        (should-not (mailsync-gnus-nnimap--pin process))
        (setq status (append '(:warnings (:self-signed)) status))
        (should (equal (mailsync-gnus-nnimap--pin process)
                       (list :tls-fingerprint
                             (concat "SHA256:"
                                     (secure-hash 'sha256 "not really")))))
        (should-not (mailsync-imap-fault
                     (append '(:host "h") (mailsync-gnus-nnimap--pin process))))))))

(ert-deftest nnimap-test-login ()
  "The user is Gnus's, or who auth-source knows; nobody is asked."
  (let* ((file (make-temp-file "mailsync-authinfo" nil nil
                               "machine work login somebody password x"))
         (auth-sources (list file))
         (method '(nnimap "work" (nnimap-address "h"))))
    (auth-source-forget-all-cached)
    (unwind-protect
        (nnimap-test-connected 'ssl "imaps" t
          (cl-letf (((symbol-function 'gnutls-peer-status) #'ignore)
                    ((symbol-function 'read-passwd)
                     (lambda (&rest _) (ert-fail "somebody was asked"))))
            (let ((get (lambda (key)
                         (plist-get (mailsync-gnus-nnimap--describe method) key))))
              (should (equal (funcall get :user) "somebody"))
              (should-not (funcall get :auth))
              (should (equal (plist-get (funcall get :lookup) :host) '("work" "h")))
              (let ((nnimap-user "me"))
                (should (equal (funcall get :user) "me")))
              (dolist (mechanism '(plain login xoauth2))
                (let ((nnimap-authenticator mechanism))
                  (should (eq (funcall get :auth) mechanism))))
              (let ((nnimap-authenticator 'cram-md5))
                (should-not (funcall get :auth)))
              (let ((nnimap-authenticator 'anonymous))
                (should (stringp (mailsync-gnus-nnimap--describe method))))
              ;; What was typed for Gnus.
              (let* ((method '(nnimap "typed" (nnimap-address "h")))
                     (spec (mailsync-gnus-nnimap--spec method)))
                (should-not (plist-get (mailsync-gnus-nnimap--describe method) :user))
                (auth-source-remember spec '((:user "typist" :secret "x")))
                (should (equal (plist-get (mailsync-gnus-nnimap--describe method) :user)
                               "typist"))))))
      (auth-source-forget-all-cached)
      (delete-file file))))

(ert-deftest nnimap-test-spec ()
  "Auth-source is asked as nnimap asks it, by each kind of stream."
  (pcase-dolist (`(,stream ,port ,ports)
                 '((ssl nil ("imaps" "imap" "993" "143"))
                   (ssl 1993 (1993 "imaps" "imap" "993" "143"))
                   (network nil ("imap" "143"))
                   (shell nil ("imap"))))
    (let ((nnimap-stream stream) (nnimap-server-port port)
          (nnimap-address "h") (nnimap-user "me")
          (asked nil))
      (cl-letf (((symbol-function 'auth-source-search)
                 (lambda (&rest spec) (setq asked spec) nil)))
        (nnimap-credentials (list "work" "h")
                            ports "me")
        (should (equal (mailsync-gnus-nnimap--spec '(nnimap "work")) asked))))))

;;;; When the engine is told

(defmacro nnimap-test-looking (&rest body)
  "Run BODY with Gnus ready, and `told' the accounts that the engine was told of.
`open' is what Gnus has open."
  (declare (indent 0))
  `(let* ((told nil) (open nil) (described 0) (moment t)
          (mailsync-mode t) (mailsync-accounts '(("m" :maildir "~/Mail")))
          (mailsync-accounts--valid nil) (mailsync-gnus-nnimap--servers nil)
          (mailsync-gnus-nnimap--told nil) (mailsync-gnus-nnimap--timer nil)
          (mailsync-gnus-watch-nnimap t)
          (mailsync-accounts-more-function #'mailsync-gnus-nnimap-accounts))
     (cl-letf (((symbol-function 'mailsync-gnus-nnimap--open-methods) (lambda () open))
               ((symbol-function 'mailsync-gnus-nnimap--moment-p) (lambda () moment))
               ((symbol-function 'mailsync-gnus-nnimap--describe)
                (lambda (method)
                  (setq described (1+ described))
                  (list :host (concat (nth 1 method) ".example.org") :user "me")))
               ((symbol-function 'mailsync--reconfigure)
                (lambda (&optional quietly)
                  (should quietly)
                  (push (mapcar #'car (mailsync-accounts-read)) told))))
       (mailsync-accounts-read)
       ,@body)))

(ert-deftest nnimap-test-look ()
  "The engine is told of a difference, and of nothing else."
  (nnimap-test-looking
    (mailsync-gnus-nnimap--look 1)
    (should-not told)
    (setq open '((nnimap "a") (nnimap "b")))
    (mailsync-gnus-nnimap--look 1)
    (should (equal told '(("m" "nnimap:a" "nnimap:b"))))
    (mailsync-gnus-nnimap--look 1)
    (should (= 1 (length told)))
    (should (= 2 described))
    (setq open '((nnimap "b")))
    (mailsync-gnus-nnimap--look 1)
    (should (equal (car told) '("m" "nnimap:b")))
    ;; An option that changed reads everything again.
    (let ((mailsync-accounts '(("w" :gnus-server "b" :remote (watcher "x")))))
      (should (equal (mapcar #'car (mailsync-accounts-read)) '("w")))
      (mailsync-gnus-nnimap--look 1))
    (should (= 2 (length told)))
    (setq open nil)
    (mailsync-accounts-read)
    (mailsync-gnus-nnimap--look 1)
    (should (equal (car told) '("m")))))

(ert-deftest nnimap-test-no-moment ()
  "While somebody waits for Gnus it is not asked; that something is closed needs no asking."
  (nnimap-test-looking
    (setq open '((nnimap "a")) moment nil)
    (mailsync-gnus-nnimap--look 0.02)
    (should-not told)
    (should (timerp mailsync-gnus-nnimap--timer))
    (setq moment t)
    (test-wait (lambda () told))
    (should (equal told '(("m" "nnimap:a"))))
    (setq moment nil open nil)
    (mailsync-gnus-nnimap--look 0.02)
    (should (equal (car told) '("m")))
    (should-not mailsync-gnus-nnimap--timer)))

(ert-deftest nnimap-test-notices ()
  "That Gnus opens or closes a server is noticed between setup and teardown only."
  (let ((looks 0)
        (mailsync-accounts-more-function #'ignore)
        (mailsync-imap-lookup-function #'ignore)
        (gnus-opened-servers nil))
    (cl-letf (((symbol-function 'mailsync-gnus-nnimap--look)
               (lambda (_) (setq looks (1+ looks))))
              ((symbol-function 'nnimap-open-server) #'ignore)
              ((symbol-function 'nnimap-close-server) #'ignore))
      (unwind-protect
          (progn
            (mailsync-gnus-nnimap-setup)
            (test-wait (lambda () (= looks 1)))
            (gnus-open-server '(nnimap "work"))
            (test-wait (lambda () (= looks 2)))
            (gnus-close-server '(nnimap "work"))
            (test-wait (lambda () (= looks 3)))
            (gnus-open-server '(nnimap "work")))
        (mailsync-gnus-nnimap-teardown))
      (gnus-close-server '(nnimap "work"))
      (test-wait-for 0.1)
      (should (= looks 3))
      (should (eq mailsync-accounts-more-function #'ignore))
      (should-not (advice-member-p #'mailsync-gnus-nnimap-look-soon
                                   'gnus-open-server)))))

(provide 'mailsync-nnimap-test)
;;; mailsync-nnimap-test.el ends here
